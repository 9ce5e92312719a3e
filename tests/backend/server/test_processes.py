"""Backends as processes: killed, stopped, started twice, out of room."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from mattebox_backend.server.serving import end_on_signals
from mattebox_media.writer import write_clip
from mattebox_proto.channel import Address, open_channel
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.discovery import read_card
from mattebox_proto.mattebox.v1 import edit_pb2, jobs_pb2, system_pb2, system_pb2_grpc
from mattebox_proto.paths import Folders

Launch = Callable[..., Any]
MakeEdit = Callable[..., edit_pb2.Edit]
Eventually = Callable[..., None]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and Unix sockets")


def finished(client: Client, job: str) -> jobs_pb2.Job:
    for _event in client.watch(job, patience=60):
        pass
    return client.job(job)


def take_bits(client: Client, job: jobs_pb2.Job) -> bytes:
    return b"".join(frame.tobytes() for _index, frame in client.read_take(job.take))


def test_a_killed_backend_resumes_its_job_to_the_same_bits(
    launch: Launch, clip_file: Path, make_edit: MakeEdit, eventually: Eventually
) -> None:
    first = launch()
    with first.client() as client:
        edit = make_edit(client.open_clip(clip_file), steps=60, delay=0.02)
        job = client.submit(edit)
        waiting = client.submit(make_edit(client.open_clip(clip_file), steps=2))
        eventually(lambda: client.job(job.id).progress.step > 10)
        assert len(client.jobs()) == 2
        first.popen.kill()
    first.end()

    second = launch()
    with second.client() as client:
        events = list(client.watch(job.id))
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        logs = [event.log for event in events if event.WhichOneof("event") == "log"]
        assert logs
        assert int(logs[0].rpartition(" ")[2]) >= 10
        resumed = client.job(job.id)
        assert (resumed.state, resumed.resumes) == (jobs_pb2.JOB_STATE_DONE, 1)
        assert finished(client, waiting.id).resumes == 0
        uninterrupted = finished(client, client.submit(edit).id)
        assert take_bits(client, resumed) == take_bits(client, uninterrupted)
    assert second.terminate() == 0


def test_a_curve_outlives_a_killed_backend_and_is_whole_in_the_end(
    launch: Launch, clip_file: Path, make_edit: MakeEdit, eventually: Eventually
) -> None:
    def curve(client: Client, job: str, last: int = 0) -> tuple[dict[int, float], list[int]]:
        """The curve as a client draws it, and the steps as they were told."""
        figures = [e.figure for e in client.watch(job, after=last) if e.WhichOneof("event") == "figure"]
        return {figure.step: figure.value for figure in figures}, [figure.step for figure in figures]

    first = launch()
    with first.client() as client:
        edit = make_edit(client.open_clip(clip_file), steps=40, delay=0.05, figures=True)
        job = client.submit(edit)
        seen = {}
        watch = client.watch(job.id, patience=0)
        for event in watch:
            if event.WhichOneof("event") == "figure":
                seen[event.figure.step] = event.figure.value
                if len(seen) == 12:
                    break
        last = watch.last
        first.popen.kill()
    first.end()

    second = launch()
    with second.client() as client:
        missed, _ = curve(client, job.id, last)
        assert client.job(job.id).resumes == 1
        whole, told = curve(client, job.id)
        assert sorted(whole) == list(range(1, 41))
        assert {**seen, **missed} == whole
        assert len(told) > 40, "the step that the kill cut off is told again"
        uninterrupted, _ = curve(client, client.submit(edit).id)
        assert whole == uninterrupted
        client.shutdown()
    assert second.end() == 0


def test_a_signal_stops_in_order_and_the_job_goes_on_later(
    launch: Launch, clip_file: Path, make_edit: MakeEdit, home: Folders, eventually: Eventually
) -> None:
    first = launch()
    with first.client() as client:
        job = client.submit(make_edit(client.open_clip(clip_file), steps=100, delay=0.02))
        eventually(lambda: client.job(job.id).progress.step > 3)
        assert first.terminate() == 0
    assert read_card(home.backend_file) is None
    assert not (home.run / "backend.sock").exists()

    second = launch()
    with second.client() as client:
        done = finished(client, job.id)
        assert (done.state, done.resumes) == (jobs_pb2.JOB_STATE_DONE, 1)
        client.shutdown()
    assert second.end() == 0


def test_a_signal_during_the_start_ends_it_in_order(launch: Launch, home: Folders) -> None:
    process = launch("", "0", "0", "", "", "interrupted")
    assert process.end() == 0
    assert read_card(home.backend_file) is None
    assert not (home.run / "backend.sock").exists()


def test_a_signal_is_heeded_by_a_thread_that_holds_no_lock() -> None:
    setters: list[threading.Thread] = []

    class Watched(threading.Event):
        def set(self) -> None:
            setters.append(threading.current_thread())
            super().set()

    stopping = Watched()
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        end_on_signals(stopping)
        signal.raise_signal(signal.SIGTERM)
        assert stopping.wait(30)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
        os.close(signal.set_wakeup_fd(-1))
    assert threading.main_thread() not in setters


def test_a_second_backend_on_one_home_says_so_and_ends(launch: Launch, home: Folders) -> None:
    first = launch()
    card = first.card()
    second = launch()
    assert second.end() == 1
    assert f"process {card.pid}" in second.errors
    assert read_card(home.backend_file) == card
    with first.client() as client:
        client.handshake()


def test_a_backend_waits_for_one_that_is_about_to_end(
    launch: Launch, clip_file: Path, make_edit: MakeEdit, home: Folders, eventually: Eventually
) -> None:
    first = launch()
    with first.client() as client:
        job = client.submit(make_edit(client.open_clip(clip_file), steps=3, delay=2))
        eventually(lambda: client.job(job.id).state == jobs_pb2.JOB_STATE_RUNNING)
        first.popen.terminate()
        eventually(lambda: read_card(home.backend_file) is None)
    assert first.popen.poll() is None
    with launch().client() as client:
        assert finished(client, job.id).state == jobs_pb2.JOB_STATE_DONE
    assert first.end() == 0


def test_leftovers_of_a_killed_backend_do_not_stand_in_the_way(launch: Launch, home: Folders) -> None:
    first = launch()
    old = first.card()
    first.kill()
    assert read_card(home.backend_file) == old
    assert (home.run / "backend.sock").exists()
    home.backend_file.write_text("{ damaged", encoding="utf-8")
    second = launch()
    with second.client() as client:
        client.handshake()
    assert second.card().token != old.token


def test_a_full_disk_fails_the_job_and_leaves_nothing_half_written(
    launch: Launch, home: Folders, tmp_path: Path, make_edit: MakeEdit
) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (24, 160, 160, 3), dtype=np.uint8)
    clip_file = tmp_path / "noise.mkv"
    write_clip(clip_file, noise, fps=Fraction(25))
    assert clip_file.stat().st_size > 1 << 20
    process = launch("", "0", str(1 << 20))
    with process.client() as client:
        clip = client.open_clip(clip_file)
        failed = finished(client, client.submit(make_edit(clip, stop=24)).id)
        assert (failed.state, failed.error_kind) == (jobs_pb2.JOB_STATE_FAILED, "disk-full")
        assert "disk is full" in failed.error
        assert list((home.data / "takes").iterdir()) == []
        small = finished(client, client.submit(make_edit(clip, stop=4)).id)
        assert small.state == jobs_pb2.JOB_STATE_DONE


def test_tls_serves_others_and_the_local_socket_its_own(
    launch: Launch, tmp_path: Path, home: Folders
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    what = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    options = [*what.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    made = subprocess.run(["openssl", *options], capture_output=True)
    if made.returncode:
        pytest.skip("no openssl command here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = launch(f"0.0.0.0:{port}", "0", "0", str(certificate), str(key))
    card = process.card()
    assert card.address.startswith("unix:")
    with process.client() as client:
        client.handshake()
    roots = certificate.read_bytes()
    with Client.connect(Endpoint(f"127.0.0.1:{port}", card.token, roots)) as client:
        client.handshake()
    with open_channel(Address.parse(f"127.0.0.1:{port}"), card.token) as plain, pytest.raises(grpc.RpcError):
        system_pb2_grpc.SystemStub(plain).Handshake(system_pb2.HandshakeRequest(), timeout=5)


def test_an_idle_backend_ends_by_itself_but_not_under_a_watcher(
    launch: Launch, clip_file: Path, make_edit: MakeEdit
) -> None:
    process = launch("", "1")
    with process.client() as client:
        job = client.submit(make_edit(client.open_clip(clip_file), steps=20, delay=0.1))
        assert finished(client, job.id).state == jobs_pb2.JOB_STATE_DONE
        assert process.popen.poll() is None
    assert process.end() == 0


def test_a_client_that_goes_away_frees_its_watch(
    launch: Launch, clip_file: Path, make_edit: MakeEdit
) -> None:
    process = launch("", "0")
    with process.client() as client:
        job = client.submit(make_edit(client.open_clip(clip_file), steps=300, delay=0.02))
        for _round in range(60):  # more than the server allows at one time
            watch = iter(client.watch(job.id))
            assert next(watch).sequence == 1
            watch.close()
        client.cancel(job.id)
        assert finished(client, job.id).state == jobs_pb2.JOB_STATE_CANCELLED


def test_the_serve_command_serves_before_torch_is_imported(home: Folders, eventually: Eventually) -> None:
    command = "import sys, mattebox_backend.server.serving; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0
    process = subprocess.Popen([sys.executable, "-m", "mattebox_backend", "serve", "--idle-exit", "60"])
    try:
        eventually(lambda: read_card(home.backend_file) is not None)
        card = read_card(home.backend_file)
        assert card is not None
        with Client.connect(Endpoint(card.address, card.token)) as client:
            assert client.handshake().compatible
    finally:
        process.kill()
        process.wait()


def test_settings_that_cannot_be_used_are_named(home: Folders) -> None:
    home.config.mkdir(parents=True)
    (home.config / "backend.toml").write_text('cache_limit = "many"\ncolour = 1\n', encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "mattebox_backend", "serve"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert "cache_limit = 'many'" in run.stderr
    assert "“colour” is unknown" in run.stderr
    assert not home.backend_file.exists()


def test_the_serve_command_listens_beyond_loopback_with_tls_only(home: Folders) -> None:
    command = [sys.executable, "-m", "mattebox_backend", "serve", "--listen", "0.0.0.0:0"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert "needs TLS" in run.stderr
    assert "Traceback" not in run.stderr
