"""Searches for regions through a real server on a socket, with the real search and a tiny model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from mattebox_backend.device import Device
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.segment import Proposal, ProposalRequest, propose_regions
from mattebox_backend.server.backend import Backend, Options
from mattebox_backend.settings import Settings, load_settings
from mattebox_media.writer import write_clip
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.codecs.masks import decode_track
from mattebox_proto.errors import BackendError, InvalidRequest, ModelMissing, NotFound, TooLarge
from mattebox_proto.mattebox.v1 import clips_pb2, jobs_pb2, masks_pb2
from mattebox_proto.paths import Folders

FRAMES, SIDE = 3, 64


@pytest.fixture(scope="module")
def wide_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "wide.mkv"
    rng = np.random.default_rng(1)
    write_clip(path, rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8), fps=Fraction(8))
    return path


@pytest.fixture
def searching(home: Folders, inverting: ModuleType) -> Iterator[Callable[..., Any]]:
    """Starts a backend whose renders invert colours and whose searches are real."""

    class SearchingEngine(inverting.InvertingEngine):  # type: ignore[misc,name-defined]
        def __init__(self, models: ModelRegistry, settings: Settings) -> None:
            super().__init__(models, settings)
            self.models = models
            self.told: list[str] = []

        def propose(self, request: ProposalRequest, progress: Callable[..., None]) -> Sequence[Proposal]:
            def tell(stage: Any, step: int, of: int) -> None:
                progress(stage, step, of)
                self.told.append(stage.value)

            self.told.append("begun")
            try:
                return propose_regions(
                    request, models=self.models, device=Device("cpu", 0, "float32"), progress=tell
                )
            finally:
                self.told.append("ended")

    started: list[Backend] = []

    def start(**settings: Any) -> tuple[Backend, Client]:
        chosen = load_settings(home).model_copy(update=settings)
        backend = Backend(home, chosen, Options(), engine=SearchingEngine)
        backend.start()
        started.append(backend)
        return backend, Client.connect(Endpoint(backend.addresses[0], backend.token))

    yield start
    for backend in started:
        if not backend.stopping.is_set():
            backend.stop()


def ask(clip: clips_pb2.Clip, model: Path, **changes: Any) -> masks_pb2.ProposeRequest:
    wanted = {"stop": FRAMES, "backbone": str(model), "prompt": "a red circle", "regions": 3, "seed": 1}
    return masks_pb2.ProposeRequest(clip=clip.id, **(wanted | changes))


def test_proposals_come_after_progress_the_largest_first(
    searching: Callable[..., Any], wide_clip: Path, tiny_model: Path
) -> None:
    _backend, client = searching()
    with client:
        clip = client.open_clip(wide_clip)
        events = list(client.propose_regions(ask(clip, tiny_model)))
        kinds = [event.WhichOneof("event") for event in events]
        assert kinds == sorted(kinds), "progress after a proposal"
        stages = list(dict.fromkeys(e.progress.stage for e in events if e.HasField("progress")))
        assert stages == [
            jobs_pb2.STAGE_UNSPECIFIED,
            jobs_pb2.STAGE_LOAD,
            jobs_pb2.STAGE_ENCODE,
            jobs_pb2.STAGE_INVERT,
            jobs_pb2.STAGE_MASKS,
        ]
        proposals = [event.proposal for event in events if event.HasField("proposal")]
        masks = np.stack([decode_track(p.masks, frames=FRAMES, height=SIDE, width=SIDE) for p in proposals])
        assert ((masks > 0).sum(axis=0) == 1).all()
        shares = [p.share for p in proposals]
        assert shares == sorted(shares, reverse=True)
        assert shares == pytest.approx([float((mask > 0).mean()) for mask in masks])
        again = [e.proposal for e in client.propose_regions(ask(clip, tiny_model)) if e.HasField("proposal")]
        assert [p.SerializeToString() for p in again] == [p.SerializeToString() for p in proposals]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"clip": "nothing"}, NotFound, "nothing"),
        ({"regions": 1}, InvalidRequest, "ask for 2 to 32"),
        ({"stop": 9}, InvalidRequest, "is not within the clip"),
        ({"backbone": "nothing"}, ModelMissing, "nothing"),
        ({"backbone": ""}, ModelMissing, "no backbone"),
        ({"reduction": 7}, InvalidRequest, "no self attention at 1/7"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(
    searching: Callable[..., Any],
    wide_clip: Path,
    tiny_model: Path,
    change: dict[str, Any],
    error: type[BackendError],
    words: str,
) -> None:
    _backend, client = searching()
    with client:
        request = ask(client.open_clip(wide_clip), tiny_model)
        for name, value in change.items():
            setattr(request, name, value)
        with pytest.raises(error, match=words):
            list(client.propose_regions(request))


def test_more_frames_than_a_motion_model_knows_are_refused_with_the_remedy(
    searching: Callable[..., Any], tiny_motion: Path, tmp_path: Path
) -> None:
    path = tmp_path / "long.mkv"
    write_clip(path, np.zeros((7, SIDE, SIDE, 3), np.uint8), fps=Fraction(8))
    _backend, client = searching()
    with client:
        request = ask(client.open_clip(path), tiny_motion, stop=7)
        stages = []
        with pytest.raises(InvalidRequest, match="choose a shorter --range, of at most 6 frames"):
            stages += [event.progress.stage for event in client.propose_regions(request)]
        assert jobs_pb2.STAGE_ENCODE not in stages


def test_more_masks_than_the_limit_are_refused(
    searching: Callable[..., Any], wide_clip: Path, tiny_model: Path
) -> None:
    _backend, client = searching(mask_limit=3 * FRAMES * SIDE * SIDE - 1)
    with client:
        clip = client.open_clip(wide_clip)
        with pytest.raises(TooLarge, match="raise mask_limit"):
            list(client.propose_regions(ask(clip, tiny_model)))
        assert list(client.propose_regions(ask(clip, tiny_model, regions=2)))


def test_a_search_that_nobody_waits_for_ends(
    searching: Callable[..., Any], wide_clip: Path, tiny_model: Path, eventually: Callable[..., None]
) -> None:
    backend, client = searching()
    with client:
        clip = client.open_clip(wide_clip)
        events = client.propose_regions(ask(clip, tiny_model))
        for event in events:
            if event.progress.stage == jobs_pb2.STAGE_ENCODE:
                break
        events.close()
        told = backend._engine.told  # type: ignore[attr-defined]
        eventually(lambda: "ended" in told)
        assert "masks" not in told, "it went on to its end"
        assert list(client.propose_regions(ask(clip, tiny_model))), "the device is held"


def test_a_search_waits_for_the_job_that_runs_and_then_the_next_job_for_it(
    searching: Callable[..., Any],
    wide_clip: Path,
    tiny_model: Path,
    make_edit: Callable[..., Any],
    eventually: Callable[..., None],
) -> None:
    backend, client = searching()
    with client:
        clip = client.open_clip(wide_clip)
        running = client.submit(make_edit(clip, stop=FRAMES, steps=20, delay=0.05))
        eventually(lambda: client.job(running.id).progress.step > 1)
        told = backend._engine.told  # type: ignore[attr-defined]
        seen: list[Any] = []
        for event in client.propose_regions(ask(clip, tiny_model)):
            if not seen:
                assert event.progress.stage == jobs_pb2.STAGE_UNSPECIFIED
                assert not told, "it began while the job was running"
                later = client.submit(make_edit(clip, stop=FRAMES, steps=2))
            elif event.HasField("proposal") or event.progress.stage != jobs_pb2.STAGE_UNSPECIFIED:
                assert client.job(running.id).state == jobs_pb2.JOB_STATE_DONE
            seen.append(event)
        assert told[-1] == "ended"
        eventually(lambda: client.job(later.id).state == jobs_pb2.JOB_STATE_DONE)
        assert client.job(later.id).started.ToNanoseconds() > client.job(running.id).ended.ToNanoseconds()


def test_a_backend_stops_while_a_search_waits(
    searching: Callable[..., Any], wide_clip: Path, tiny_model: Path, make_edit: Callable[..., Any]
) -> None:
    backend, client = searching()
    with client:
        clip = client.open_clip(wide_clip)
        job = client.submit(make_edit(clip, stop=FRAMES, steps=2000, delay=0.05))
        events = client.propose_regions(ask(clip, tiny_model))
        assert next(events).progress.stage == jobs_pb2.STAGE_UNSPECIFIED
        assert job.id
        backend.stop()
        with pytest.raises(BackendError):
            list(events)
