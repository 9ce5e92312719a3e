"""Captions through a real server on a socket, by a tiny Florence-2 that tells red from blue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from mattebox_backend.captions import CaptionRequest, CaptionStage, Tell
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.server.backend import Backend, Options
from mattebox_backend.settings import Settings, load_settings
from mattebox_media.writer import write_clip
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.codecs.frames import encode_image
from mattebox_proto.errors import BackendError, InvalidRequest, ModelMissing, NotFound
from mattebox_proto.mattebox.v1 import captions_pb2, clips_pb2, jobs_pb2, media_pb2
from mattebox_proto.paths import Folders

WAITING, LOADING, DESCRIBING = (
    captions_pb2.DESCRIBE_STATE_WAITING,
    captions_pb2.DESCRIBE_STATE_LOADING,
    captions_pb2.DESCRIBE_STATE_DESCRIBING,
)
SENTENCE = captions_pb2.CAPTION_DETAIL_SENTENCE


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine's hub cache may hold is none of the tests' business."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def painted(florences: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip: red, blue, red."""
    path = tmp_path_factory.mktemp("clips") / "painted.mkv"
    write_clip(path, iter([florences.wall(color) for color in ("red", "blue", "red")]), fps=Fraction(8))
    return path


@pytest.fixture
def describing(home: Folders, inverting: ModuleType, tiny_captioner: Path) -> Iterator[Callable[..., Any]]:
    """Starts a backend whose renders invert colours and whose captions are real."""

    class DescribingEngine(inverting.InvertingEngine):  # type: ignore[misc,name-defined]
        def __init__(self, models: ModelRegistry, settings: Settings) -> None:
            super().__init__(models, settings)
            self.told: list[str] = []

        def describe(self, request: CaptionRequest, tell: Tell) -> str:
            def noted(stage: CaptionStage) -> None:
                self.told.append(stage.value)
                tell(stage)

            try:
                return str(super().describe(request, noted))
            finally:
                self.told.append("ended")

    started: list[Backend] = []

    def start(*folders: Path) -> tuple[Backend, Client]:
        chosen = load_settings(home).model_copy(update={"model_folders": folders or (tiny_captioner.parent,)})
        backend = Backend(home, chosen, Options(), engine=DescribingEngine)
        backend.start()
        started.append(backend)
        return backend, Client.connect(Endpoint(backend.addresses[0], backend.token))

    yield start
    for backend in started:
        if not backend.stopping.is_set():
            backend.stop()


def ask(clip: clips_pb2.Clip | None, **changes: Any) -> captions_pb2.DescribeRequest:
    return captions_pb2.DescribeRequest(
        clip="" if clip is None else clip.id, **({"detail": SENTENCE} | changes)
    )


def caption(client: Client, request: captions_pb2.DescribeRequest) -> str:
    *before, last = client.describe(request)
    assert all(event.WhichOneof("event") == "state" for event in before)
    return last.caption


def test_a_frame_is_described_after_it_was_said_how_far_it_is(
    describing: Callable[..., Any], painted: Path
) -> None:
    backend, client = describing()
    with client:
        clip = client.open_clip(painted)
        events = list(client.describe(ask(clip, frame=1)))
        assert [event.state for event in events[:-1]] == [WAITING, LOADING, DESCRIBING]
        assert events[-1].caption == "a blue wall"
        assert caption(client, ask(clip)) == "a red wall"
        assert caption(client, ask(clip, detail=0)) == "the picture shows a red wall on gray ground"
        assert caption(client, ask(clip, captioner="tiny-florence")) == "a red wall"
        assert backend._engine.released == 4, "the device's memory was not given back"


def test_a_picture_is_described_in_place_of_the_frame_and_without_a_clip(
    describing: Callable[..., Any], painted: Path, florences: ModuleType
) -> None:
    _backend, client = describing()
    with client:
        blue = florences.wall("blue", 30, 20)
        deep = np.dstack([blue.astype(np.uint16) * 257, np.zeros((30, 20), np.uint16)])
        for clip in (client.open_clip(painted), None):
            for picture in (blue, deep):
                assert caption(client, ask(clip, picture=encode_image(picture))) == "a blue wall"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"clip": "nothing"}, NotFound, "nothing"),
        ({"frame": 3}, InvalidRequest, "The frame 3 is not within the clip, which has frames 0 to 2"),
        ({"detail": 9}, InvalidRequest, "The detail 9 of a caption is not known"),
        ({"captioner": "nobody"}, ModelMissing, "“nobody” is not on this machine, which has tiny-florence"),
        ({"captioner": "/nowhere"}, ModelMissing, "no model folder at /nowhere"),
        ({"picture": media_pb2.Image(width=2, height=2, layout=1, data=b"x")}, InvalidRequest, "1 bytes"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words_before_anything_is_waited_for(
    describing: Callable[..., Any],
    painted: Path,
    change: dict[str, Any],
    error: type[BackendError],
    words: str,
) -> None:
    _backend, client = describing()
    with client:
        request = ask(client.open_clip(painted))
        request.MergeFrom(captions_pb2.DescribeRequest(**change))
        events = iter(client.describe(request))
        with pytest.raises(error, match=words):
            next(events)


def test_a_client_knows_beforehand_whether_there_is_a_captioner(
    describing: Callable[..., Any], painted: Path, tiny_captioner: Path, tmp_path: Path
) -> None:
    backend, client = describing(tmp_path)
    with client:
        listed = client.list_models()
        assert list(listed.captioners) == []
        assert "hf download florence-community/Florence-2-base" in listed.captioner_note
        with pytest.raises(ModelMissing, match="hf download"):
            list(client.describe(ask(client.open_clip(painted))))
        # It is there as soon as its folder is: nothing has to be started again.
        (tmp_path / "mine").symlink_to(tiny_captioner)
        listed = client.list_models()
        assert [(model.id, model.family, model.available) for model in listed.captioners] == [
            ("mine", "florence-2", True)
        ]
        assert listed.captioner_note == ""
        assert "mine" not in {model.id for model in listed.models}
        assert caption(client, ask(client.open_clip(painted))) == "a red wall"
    backend.stop()


def test_a_caption_waits_for_the_job_that_runs(
    describing: Callable[..., Any],
    painted: Path,
    make_edit: Callable[..., Any],
    eventually: Callable[..., None],
) -> None:
    backend, client = describing()
    with client:
        clip = client.open_clip(painted)
        running = client.submit(make_edit(clip, stop=3, steps=20, delay=0.05))
        eventually(lambda: client.job(running.id).progress.step > 1)
        events = iter(client.describe(ask(clip)))
        assert next(events).state == WAITING
        assert not backend._engine.told, "it began while the job was running"
        assert next(events).state == LOADING
        assert client.job(running.id).state == jobs_pb2.JOB_STATE_DONE
        assert list(events)[-1].caption == "a red wall"


def test_a_caption_that_is_cancelled_while_it_waits_is_never_begun(
    describing: Callable[..., Any],
    painted: Path,
    make_edit: Callable[..., Any],
    eventually: Callable[..., None],
) -> None:
    backend, client = describing()
    with client:
        clip = client.open_clip(painted)
        running = client.submit(make_edit(clip, stop=3, steps=2000, delay=0.02))
        eventually(lambda: client.job(running.id).progress.step > 1)
        call = client.describe(ask(clip))
        events = iter(call)
        assert next(events).state == WAITING
        call.cancel()
        assert list(events) == []
        client.cancel(running.id)
        assert caption(client, ask(clip, frame=1)) == "a blue wall"
        assert backend._engine.told.count("loading") == 1


def test_a_caption_that_is_cancelled_while_it_is_made_ends_before_its_end(
    describing: Callable[..., Any],
    painted: Path,
    eventually: Callable[..., None],
) -> None:
    backend, client = describing()
    told = backend._engine.told
    with client:
        clip = client.open_clip(painted)
        caption(client, ask(clip, detail=0))
        whole = told.count("describing")
        told.clear()
        call = client.describe(ask(clip, detail=0))
        for event in call:
            if event.state == DESCRIBING:
                call.cancel()
        eventually(lambda: "ended" in told)
        assert told.count("describing") < whole, "it went on to its end"
        assert caption(client, ask(clip)) == "a red wall", "the device is held"


def test_a_backend_stops_while_a_caption_waits(
    describing: Callable[..., Any],
    painted: Path,
    make_edit: Callable[..., Any],
    eventually: Callable[..., None],
) -> None:
    backend, client = describing()
    with client:
        clip = client.open_clip(painted)
        running = client.submit(make_edit(clip, stop=3, steps=2000, delay=0.02))
        eventually(lambda: client.job(running.id).progress.step > 1)
        events = iter(client.describe(ask(clip)))
        assert next(events).state == WAITING
        backend.stop()
        with pytest.raises(BackendError):
            list(events)
