"""One backend and its clients, over a real socket, in one process."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from mattebox_backend.cli import app
from mattebox_backend.errors import InvalidSettings
from mattebox_backend.jobs.store import JobStore
from mattebox_backend.server.addresses import Listen
from mattebox_backend.server.backend import Backend, Options
from mattebox_backend.settings import Settings, load_settings
from mattebox_media.reader import open_clip
from mattebox_media.writer import write_clip
from mattebox_proto.channel import Address, open_channel
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.codecs.params import decode_params
from mattebox_proto.discovery import read_card
from mattebox_proto.errors import (
    BackendFailed,
    BadMedia,
    InvalidRequest,
    ModelMissing,
    NotFound,
    TooLarge,
    Unauthorised,
)
from mattebox_proto.mattebox.v1 import (
    clips_pb2,
    clips_pb2_grpc,
    edit_pb2,
    jobs_pb2,
    system_pb2,
    system_pb2_grpc,
)
from mattebox_proto.paths import Folders
from mattebox_proto.version import CONTRACT
from numpy.typing import NDArray
from typer.testing import CliRunner

MakeEdit = Callable[..., edit_pb2.Edit]


def finished(client: Client, job: str) -> jobs_pb2.Job:
    for _event in client.watch(job):
        pass
    return client.job(job)


def test_an_edit_becomes_a_lossless_take(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit, pixels: NDArray[np.uint8]
) -> None:
    job = client.submit(make_edit(clip), "my first")
    events = list(client.watch(job.id))

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    states = [event.state for event in events if event.WhichOneof("event") == "state"]
    assert states == [jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_RUNNING, jobs_pb2.JOB_STATE_DONE]
    fractions = [event.progress.fraction for event in events if event.WhichOneof("event") == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.9

    done = client.job(job.id)
    assert (done.state, done.title) == (jobs_pb2.JOB_STATE_DONE, "my first")
    take = client.take(done.take)
    assert (take.start, take.stop, take.width, take.height) == (0, 6, 32, 24)
    assert take.edit.regions[0].name == "left"
    assert not take.edit.regions[0].HasField("masks")
    assert json.loads(take.report_json)["take"] == take.id
    frames = dict(client.read_take(take.id))
    assert sorted(frames) == list(range(6))
    for index, frame in frames.items():
        assert np.array_equal(frame[:, 16:], pixels[index][:, 16:])
        assert not np.array_equal(frame[:, :16], pixels[index][:, :16])
    with open_clip(take.path) as reader:
        assert all(np.array_equal(reader.frame(index), frame) for index, frame in frames.items())
    assert sorted(dict(client.read_take(take.id, 2, 4))) == [2, 3]


def test_a_take_holds_an_edit_file_that_renders_it_again(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit
) -> None:
    from mattebox_proto.editfile import edit_message, load
    from PIL import Image

    edit = make_edit(clip, steps=3)
    take = client.take(finished(client, client.submit(edit).id).take)
    folder = Path(take.path).parent

    def read(path: Path) -> NDArray[np.uint8]:
        return np.asarray(Image.open(path))

    again = edit_message(
        load(folder / "edit.toml"),
        clip,
        folder=folder,
        read_mask=read,
        read_image=read,
        read_reference=lambda path, frame, fit: read(path),
    )
    assert again.regions[0].masks == edit.regions[0].masks
    assert again.params == edit.params
    assert finished(client, client.submit(again).id).state == jobs_pb2.JOB_STATE_DONE


def test_equal_edits_give_equal_bits(client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit) -> None:
    takes = [finished(client, client.submit(make_edit(clip)).id).take for _ in range(2)]
    first, second = (dict(client.read_take(take)) for take in takes)
    assert all(np.array_equal(first[index], second[index]) for index in first)


def test_a_watcher_that_comes_back_gets_what_it_missed(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit
) -> None:
    job = client.submit(make_edit(clip))
    everything = list(client.watch(job.id))
    assert list(client.watch(job.id)) == everything
    assert list(client.watch(job.id, after=3)) == everything[3:]
    assert list(client.watch(job.id, after=everything[-1].sequence)) == []


def test_figures_are_watched_live_and_replayed_to_whoever_comes_later(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit, inverting: ModuleType
) -> None:
    job = client.submit(make_edit(clip, steps=30, delay=0.02, figures=True))
    states_when_told = []
    live = []
    for event in client.watch(job.id):
        if event.WhichOneof("event") == "figure":
            live.append(event)
            states_when_told.append(client.job(job.id).state)
    assert states_when_told[0] == jobs_pb2.JOB_STATE_RUNNING, "it came when all was over"
    figures = [event.figure for event in live]
    assert [(f.name, f.step, f.of) for f in figures] == [
        ("length of the walk", step, 30) for step in range(1, 31)
    ]
    assert [[figure.step, figure.value] for figure in figures] == inverting.walk_lengths(7, 30)
    middle = live[15].sequence
    again = [event for event in client.watch(job.id, after=middle) if event.WhichOneof("event") == "figure"]
    assert again == live[16:]
    everything = [event.sequence for event in client.watch(job.id)]
    assert everything == list(range(1, len(everything) + 1))


def test_previews_come_to_those_who_ask(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit, pixels: NDArray[np.uint8]
) -> None:
    job = client.submit(make_edit(clip, preview=True, delay=0.05))
    shown = [event for event in client.watch(job.id, previews=True) if event.WhichOneof("event") == "preview"]
    assert shown
    assert shown[0].preview.data == pixels[0].tobytes()
    kinds = {event.WhichOneof("event") for event in client.watch(job.id)}
    assert "preview" not in kinds


def test_cancelling_a_running_job_stops_it_within_a_step(
    client: Client,
    clip: clips_pb2.Clip,
    make_edit: MakeEdit,
    backend: Backend,
    eventually: Callable[..., None],
) -> None:
    job = client.submit(make_edit(clip, steps=1000, delay=0.02))
    eventually(lambda: client.job(job.id).progress.step > 2)
    client.cancel(job.id)
    ended = finished(client, job.id)
    assert ended.state == jobs_pb2.JOB_STATE_CANCELLED
    assert ended.progress.step < 100
    assert not ended.take
    assert not client.takes()
    assert backend._engine.released == 1  # type: ignore[attr-defined]
    kinds = {kind.name: kind.entries for kind in client.cache().kinds}
    assert kinds["checkpoints"] == 0
    assert client.cancel(job.id).state == jobs_pb2.JOB_STATE_CANCELLED
    assert finished(client, client.submit(make_edit(clip)).id).state == jobs_pb2.JOB_STATE_DONE


def test_cancelling_a_waiting_job_ends_it_at_once(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit
) -> None:
    running = client.submit(make_edit(clip, steps=1000, delay=0.02))
    waiting = client.submit(make_edit(clip))
    assert client.cancel(waiting.id).state == jobs_pb2.JOB_STATE_CANCELLED
    client.cancel(running.id)
    states = [event.state for event in client.watch(waiting.id)]
    assert states == [jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_CANCELLED]


def test_several_clients_share_one_queue(backend: Backend, clip: clips_pb2.Clip, make_edit: MakeEdit) -> None:
    takes: dict[int, str] = {}

    def work(number: int) -> None:
        with Client.connect(Endpoint(backend.addresses[0], backend.token)) as own:
            takes[number] = finished(own, own.submit(make_edit(clip, steps=2), f"client {number}").id).take

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(takes.values())) == 6
    with Client.connect(Endpoint(backend.addresses[0], backend.token)) as own:
        assert {take.id for take in own.takes(clip.id)} == set(takes.values())
        assert [job.title for job in own.jobs(limit=1)] == [own.jobs()[0].title]


def test_an_unexpected_failure_ends_that_job_and_not_the_worker(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit
) -> None:
    failed = finished(client, client.submit(make_edit(clip, fail=3), "trips").id)
    assert failed.state == jobs_pb2.JOB_STATE_FAILED
    assert failed.error_kind == "internal"
    assert "RuntimeError: the sampler tripped" in failed.error
    assert "\n" not in failed.error
    log = b"".join(client.log(failed.id)).decode()
    assert "Traceback" in log
    assert "over two lines" in log
    assert not client.takes()
    assert finished(client, client.submit(make_edit(clip)).id).state == jobs_pb2.JOB_STATE_DONE


def test_a_worker_outlives_a_broken_installation_and_a_broken_turn(
    start: Callable[..., Backend],
    inverting: ModuleType,
    clip_file: Path,
    make_edit: MakeEdit,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def no_torch(_engine: object) -> None:
        raise ImportError("No module named torch")

    turns = iter([sqlite3.DatabaseError("a passing fault")])

    def broken_once(store: JobStore) -> object:
        for fault in turns:
            raise fault
        return take_next(store)

    take_next = JobStore.take_next
    monkeypatch.setattr(inverting.InvertingEngine, "prepare", no_torch)
    monkeypatch.setattr(JobStore, "take_next", broken_once)
    monkeypatch.setattr("mattebox_backend.jobs.worker._PATIENCE", 0.01)
    backend = start()
    with Client.connect(Endpoint(backend.addresses[0], backend.token)) as client:
        job = client.submit(make_edit(client.open_clip(clip_file)))
        assert finished(client, job.id).state == jobs_pb2.JOB_STATE_DONE
    assert "No module named torch" in caplog.text
    assert "a passing fault" in caplog.text


def test_a_renderer_that_hands_out_too_few_frames_makes_no_take(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit
) -> None:
    failed = finished(client, client.submit(make_edit(clip, spoil=2)).id)
    assert "4 frames of 6" in failed.error
    assert not client.takes()


def test_a_deleted_take_is_gone_from_the_disk(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit
) -> None:
    take = client.take(finished(client, client.submit(make_edit(clip)).id).take)
    client.delete_take(take.id)
    assert not Path(take.path).parent.exists()
    assert not client.takes()
    for call in (client.take, client.delete_take, lambda name: list(client.read_take(name))):
        with pytest.raises(NotFound, match="There is no take"):
            call(take.id)
    with pytest.raises(NotFound):
        client.delete_take("../jobs.db")


@pytest.mark.parametrize("token", ["", "wrong", "x" * 43])
def test_every_method_needs_the_token(backend: Backend, clip_file: Path, token: str) -> None:
    with open_channel(Address.parse(backend.addresses[0]), token) as channel:
        calls: list[Callable[[], object]] = [
            lambda: system_pb2_grpc.SystemStub(channel).Handshake(system_pb2.HandshakeRequest()),
            lambda: health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()),
            lambda: list(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())),
            lambda: list(
                reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                    iter([reflection_pb2.ServerReflectionRequest(list_services="")])
                )
            ),
            lambda: clips_pb2_grpc.ClipsStub(channel).Upload(
                iter([clips_pb2.UploadClipRequest(name="a.mp4")])
            ),
            lambda: channel.unary_unary("/mattebox.v1.System/NotThere")(b""),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as refused:
                call()
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(Unauthorised):
        Client.connect(Endpoint(backend.addresses[0], token))


def test_health_and_reflection_answer(backend: Backend) -> None:
    with open_channel(Address.parse(backend.addresses[0]), backend.token) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "mattebox.v1.Jobs"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
        names = {service.name for service in next(answers).list_services_response.service}
        assert {"mattebox.v1.System", "mattebox.v1.Clips", "mattebox.v1.Jobs"} <= names
        backend.stop()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_client_of_another_contract_is_told_in_words(backend: Backend) -> None:
    with open_channel(Address.parse(backend.addresses[0]), backend.token) as channel:
        request = system_pb2.HandshakeRequest(client_version="9.0", contract=CONTRACT + 1)
        answer = system_pb2_grpc.SystemStub(channel).Handshake(request)
    assert not answer.compatible
    assert "9.0" in answer.message
    assert "older" in answer.message


def test_the_backend_says_what_it_is(client: Client, backend: Backend) -> None:
    info = client.info()
    assert (info.device, info.device_name) == ("cpu", "a test's CPU")
    assert Path(info.home).name == "data"
    methods = {method.id: method for method in client.methods()}
    assert methods["st-modulator"].available
    assert methods["st-modulator"].parameters
    assert not methods["st-modulator"].takes_references
    assert methods["mask-lora"].takes_references
    assert list(methods["mask-lora"].families) == ["wan-image-to-video", "hunyuan-video-image-to-video"]


def test_a_model_tells_the_parameters_it_does_best_with(
    start: Callable[..., Backend], tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (folder / "mattebox.json").write_text('{"version": 1, "methods": {"st-modulator": {"steps": 30}}}')
    backend = start(settings=Settings(model_folders=(folder.parent,)))
    with Client.connect(Endpoint(backend.addresses[0], backend.token)) as client:
        models = {model.id: model for model in client.models()}
    assert decode_params(models["mine"].defaults["st-modulator"].params) == {"steps": 30}
    assert (models["mine"].shipped, models["pocket-sd"].shipped) == (False, True)


def test_what_is_no_clip_is_refused_in_one_sentence(client: Client, tmp_path: Path) -> None:
    fake = tmp_path / "holiday.mp4"
    fake.write_text("no video at all")
    with pytest.raises(BadMedia, match=r"holiday\.mp4"):
        client.open_clip(fake)
    with pytest.raises(NotFound, match=r"absent\.mp4"):
        client.open_clip(tmp_path / "absent.mp4")


def test_a_clip_that_changed_is_not_edited(
    client: Client, clip_file: Path, tmp_path: Path, make_edit: MakeEdit
) -> None:
    own = tmp_path / "own.mkv"
    own.write_bytes(clip_file.read_bytes())
    clip = client.open_clip(own)
    with own.open("ab") as file:
        file.write(b"more")
    with pytest.raises(BadMedia, match="changed"):
        client.submit(make_edit(clip))
    with pytest.raises(NotFound, match="not known here"):
        client.submit(edit_pb2.Edit(clip="0" * 64, stop=1))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"start": 3, "stop": 3}, "no frame"),
        ({"stop": 7}, "beyond the clip, which has 6 frames"),
        ({"method": "mask-lore"}, "not in this version yet"),
    ],
)
def test_a_bad_edit_is_refused_before_it_is_queued(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit, spoil: dict[str, object], words: str
) -> None:
    edit = make_edit(clip)
    for name, value in spoil.items():
        setattr(edit, name, value)
    with pytest.raises(InvalidRequest, match=words):
        client.submit(edit)
    assert not client.jobs()


def test_an_unknown_model_is_refused_before_it_is_queued(
    client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit
) -> None:
    edit = make_edit(clip)
    edit.backbone = "pocket-ds"
    with pytest.raises(ModelMissing, match="pocket-ds"):
        client.submit(edit)
    assert not client.jobs()


def test_bad_masks_name_their_region(client: Client, clip: clips_pb2.Clip, make_edit: MakeEdit) -> None:
    short = make_edit(clip)
    del short.regions[0].masks.frames[-1]
    with pytest.raises(InvalidRequest, match=r"“left” has 5 masks, the edit has 6"):
        client.submit(short)
    strange = make_edit(clip)
    strange.regions[0].mode = 77  # type: ignore[assignment]
    with pytest.raises(InvalidRequest, match=r"mask mode 77 of region “left”"):
        client.submit(strange)
    torn = make_edit(clip)
    torn.regions[0].masks.frames[0].mask.lengths[0] += 1
    with pytest.raises(InvalidRequest, match="add up to"):
        client.submit(torn)


def test_limits_are_kept_and_named(
    start: Callable[..., Backend], clip_file: Path, make_edit: MakeEdit
) -> None:
    settings = Settings.model_validate({"queue_limit": 2, "mask_limit": "10 KiB", "upload_limit": 100})
    backend = start(settings=settings)
    with Client.connect(Endpoint(backend.addresses[0], backend.token)) as client:
        clip = client.open_clip(clip_file)
        slow = make_edit(clip, steps=1000, delay=0.02)
        jobs = [client.submit(slow) for _ in range(2)]
        with pytest.raises(TooLarge, match="holds 2 jobs"):
            client.submit(slow)
        for job in jobs:
            client.cancel(job.id)
        double = make_edit(clip)
        double.regions.append(double.regions[0])
        double.regions.append(double.regions[0])
        with pytest.raises(TooLarge, match="mask_limit"):
            client.submit(double)
        with pytest.raises(TooLarge, match="upload_limit"):
            client._upload(clip_file, None)


def test_an_uploaded_clip_is_the_same_clip(
    client: Client, clip_file: Path, clip: clips_pb2.Clip, make_edit: MakeEdit, tmp_path: Path
) -> None:
    sent = client._upload(clip_file, None)
    assert sent.id == clip.id
    assert sent.path != clip.path
    assert [kind.entries for kind in client.cache().kinds if kind.name == "uploads"] == [1]
    assert sorted(dict(client.read_clip(sent.id, 1, 3))) == [1, 2]
    assert finished(client, client.submit(make_edit(sent)).id).state == jobs_pb2.JOB_STATE_DONE

    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"nothing")
    with pytest.raises(BadMedia):
        client._upload(fake, None)
    assert [kind.entries for kind in client.cache().kinds if kind.name == "uploads"] == [1]


def test_of_uploads_the_one_that_was_used_longest_ago_goes_first(
    start: Callable[..., Backend], home: Folders, clip_file: Path, pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    other_file = tmp_path / "other.mkv"
    write_clip(other_file, pixels[::-1], fps=Fraction(25))
    limit = clip_file.stat().st_size + other_file.stat().st_size // 2
    backend = start(settings=load_settings(home).model_copy(update={"cache_limit": limit}))
    with Client.connect(Endpoint(backend.addresses[0], backend.token)) as client:
        older = client._upload(clip_file, None)
        client._upload(other_file, None)
        dict(client.read_clip(older.id, 0, 1))
        backend._caches.trim()
        assert [path.name for path in (home.cache / "uploads").iterdir()] == [older.id]


def test_an_upload_that_is_cut_off_leaves_nothing(client: Client, clip_file: Path) -> None:
    data = clip_file.read_bytes()

    def messages() -> object:
        yield clips_pb2.UploadClipRequest(name="c.mkv", size=len(data))
        yield clips_pb2.UploadClipRequest(data=data[: len(data) // 2])

    with pytest.raises(grpc.RpcError) as refused:
        client._clips.Upload(messages())  # type: ignore[arg-type]
    assert "announced" in str(refused.value.details())
    assert [kind.entries for kind in client.cache().kinds if kind.name == "uploads"] == [0]


def test_clearing_the_cache_keeps_what_a_running_job_needs(
    client: Client, clip_file: Path, make_edit: MakeEdit, eventually: Callable[..., None]
) -> None:
    sent = client._upload(clip_file, None)
    job = client.submit(make_edit(sent, steps=1000, delay=0.02))
    eventually(lambda: client.job(job.id).progress.step > 1)
    usage = client.clear_cache()
    assert {kind.name: kind.entries for kind in usage.kinds} == {
        "inversions": 1,
        "adapters": 0,
        "uploads": 1,
        "checkpoints": 1,
    }
    client.cancel(job.id)
    finished(client, job.id)
    usage = client.clear_cache(["inversions"])
    assert {kind.name: kind.entries for kind in usage.kinds}["uploads"] == 1
    assert {kind.name: kind.entries for kind in usage.kinds}["inversions"] == 0
    assert all(kind.entries == 0 for kind in client.clear_cache().kinds)
    with pytest.raises(InvalidRequest, match="no cache “sofas”"):
        client.clear_cache(["sofas"])


def test_a_fault_in_a_method_is_one_sentence_with_the_log(
    client: Client, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(backend._takes, "takes", broken)
    with pytest.raises(BackendFailed, match=r"answering ListTakes \(ZeroDivisionError: oops\).*backend\.log"):
        client.takes()


def test_socket_card_and_folder_are_for_this_user_alone(backend: Backend, home: Folders) -> None:
    for path, mode in ((home.run, 0o700), (home.backend_file, 0o600), (home.run / "backend.sock", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert backend.addresses == [f"unix://{home.run / 'backend.sock'}"]


def test_a_device_that_fails_after_a_render_does_not_keep_the_job_from_ending(
    client: Client, backend: Backend, clip: clips_pb2.Clip, make_edit: MakeEdit
) -> None:
    def failed() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    backend._engine.release = failed  # type: ignore[method-assign]
    for _ in range(2):
        assert finished(client, client.submit(make_edit(clip)).id).state == jobs_pb2.JOB_STATE_DONE


def test_a_socket_in_a_folder_of_the_users_leaves_the_folder_as_it_is(
    start: Callable[..., Backend], tmp_path: Path
) -> None:
    theirs, new = tmp_path / "theirs", tmp_path / "new"
    theirs.mkdir(mode=0o755)
    theirs.chmod(0o755)
    start(Options(listen=Listen.parse(f"unix://{theirs}/mb.sock"))).stop()
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o755
    start(Options(listen=Listen.parse(f"unix://{new}/mb.sock")))
    assert stat.S_IMODE(new.stat().st_mode) == 0o700


def test_a_socket_that_another_program_listens_at_is_left_to_it(
    start: Callable[..., Backend], tmp_path: Path
) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(InvalidSettings, match="Another program listens at"):
            start(Options(listen=Listen.parse(f"unix://{path}")))
        assert path.exists()
    start(Options(listen=Listen.parse(f"unix://{path}")))  # a dead one's is taken over


def test_a_device_that_is_not_here_ends_the_start_and_leaves_no_backend(home: Folders) -> None:
    command = [sys.executable, "-m", "mattebox_backend", "serve", "--device", "mps"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "needs an Apple GPU" in ended.stderr
    assert not home.backend_file.exists()


def test_loopback_tcp_serves_like_a_socket(start: Callable[..., Backend], home: Folders) -> None:
    backend = start(Options(listen=Listen.parse("127.0.0.1:0")))
    host, _, port = backend.addresses[0].partition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0
    card = read_card(home.backend_file)
    assert card is not None
    assert card.address == backend.addresses[0]
    with Client.connect(Endpoint(card.address, card.token)) as client:
        assert client.info().pid == card.pid


def test_a_damaged_database_is_kept_aside(
    home: Folders,
    start: Callable[..., Backend],
    clip_file: Path,
    make_edit: MakeEdit,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = home.data / "jobs.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"this is no database" * 500)
    backend = start()
    assert "is damaged" in caplog.text
    with Client.connect(Endpoint(backend.addresses[0], backend.token)) as client:
        job = client.submit(make_edit(client.open_clip(clip_file)))
        assert finished(client, job.id).state == jobs_pb2.JOB_STATE_DONE
    kept = list(home.data.glob("jobs.db.damaged-*"))
    assert [path.read_bytes()[:19] for path in kept] == [b"this is no database"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "nowhere"], "neither HOST:PORT nor unix"),
        (["--listen", "127.0.0.1:70000"], "neither HOST:PORT nor unix"),
        (["--listen", "unix:relative.sock"], "needs a full path"),
        (["--device", "tpu"], "device “tpu” is unknown"),
        (["--tls-cert", "absent.pem"], "both a certificate and its key"),
        (["--tls-cert", "absent.pem", "--tls-key", "absent.pem"], r"absent\.pem cannot be read"),
    ],
)
def test_the_serve_command_refuses_in_one_sentence(home: Folders, arguments: list[str], words: str) -> None:
    run = CliRunner().invoke(app, ["serve", *arguments])
    assert run.exit_code == 2
    assert re.search(words, run.stderr)
    assert run.stderr.count("\n") == 1


def test_an_address_that_is_taken_is_named_and_leaves_the_home_free(
    start: Callable[..., Backend], home: Folders
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InvalidSettings, match=f"127.0.0.1:{port}"):
            start(Options(listen=Listen.parse(f"127.0.0.1:{port}")))
    assert not home.backend_file.exists()
    start()
