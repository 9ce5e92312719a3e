"""What a method costs: time and peak memory of a whole render, each in a process of its own, over growing
clips and growing regions.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from mattebox_media import write_clip
from numpy.typing import NDArray

from mattebox_backend.bench.apart import answer, measured_apart
from mattebox_backend.bench.running import Silent
from mattebox_backend.device import choose_device
from mattebox_backend.edit import Edit, Reference, Region
from mattebox_backend.methods import find_method
from mattebox_backend.methods.parameters import ParameterValue
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.render import RenderPaths, render
from mattebox_backend.world.captions import caption
from mattebox_backend.world.render import render as render_scene
from mattebox_backend.world.sampling import sample_scene

FRAMES: Final = (8, 16, 32, 64)
AREAS: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
_SEED = 90_001
"""Of no training and no task."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One render to measure. area: the share of the picture that the region covers, (0, 1]. name: of what is
    tried.
    """

    name: str
    method: str
    params: Mapping[str, ParameterValue] = field(default_factory=dict)
    frames: int = 16
    area: float = 0.25
    backbone: str = "pocket-sd"
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Cost:
    """seconds: per stage. peak_memory_mb: of the process (on CUDA of the device), the model included."""

    seconds: Mapping[str, float]
    peak_memory_mb: float

    @property
    def total(self) -> float:
        """Seconds of all stages but loading the model."""
        return sum(seconds for stage, seconds in self.seconds.items() if stage != "load")


_STEPS: Final[Mapping[str, ParameterValue]] = {"steps": 6}
"""Of every method: a step costs what a step costs, and sixty-four frames are many."""
_RAD: Final[Mapping[str, ParameterValue]] = {**_STEPS, "refinements": 5, "window_frames": 0}
METHODS: Final[tuple[tuple[str, str, Mapping[str, ParameterValue]], ...]] = (
    ("st-modulator", "st-modulator", _STEPS),
    ("reatco", "reatco", _RAD),
    ("reatco, no checkpointing", "reatco", {**_RAD, "checkpointing": False}),
    ("reatco, windows of 8", "reatco", {**_RAD, "window_frames": 8, "window_stride": 8}),
    ("videodirector", "videodirector", {**_STEPS, "inner_steps": 5}),
    ("roi-aware", "roi-aware", _STEPS),
)
"""What is tried over growing clips: name, method, parameters."""


def trials_over_frames(backbone: str, device: str, frames: Sequence[int] = FRAMES) -> list[Trial]:
    """Every method on clips of growing length, a quarter of the picture edited."""
    return [
        Trial(name, method, params, frames=count, backbone=backbone, device=device)
        for name, method, params in METHODS
        for count in frames
    ]


def trials_over_area(backbone: str, device: str, areas: Sequence[float] = AREAS) -> list[Trial]:
    """The whole picture computed and only the regions' neighbourhood, for growing regions."""
    return [
        Trial(name, "roi-aware", {**_STEPS, **params}, area=area, backbone=backbone, device=device)
        for name, params in (("whole picture", {}), ("focus", {"focus": True}))
        for area in areas
    ]


def trials_of_training(backbone: str, device: str) -> list[Trial]:
    """Mask-aware LoRA with both stages of its training, 100 steps each, on seventeen frames: on all of them
    together, and in windows of nine.
    """
    return [
        Trial(name, "mask-lora", params, frames=17, area=0.1, backbone=backbone, device=device)
        for name, params in (
            ("mask-lora, 100 + 100 steps", {"training_window": 0}),
            ("mask-lora, 100 + 100 steps in windows of 9", {"training_window": 9}),
        )
    ]


def measure_all(trials: Sequence[Trial], on_done: Callable[[Trial, Cost], None]) -> list[tuple[Trial, Cost]]:
    """Measure trials one after the other, each in a process of its own, so that its peak memory is its own.

    Raises `BenchError` for one that did not finish.
    """
    found = []
    for trial in trials:
        cost = Cost(**measured_apart(__name__, trial, f"{trial.name} on {trial.frames} frames"))
        found.append((trial, cost))
        on_done(trial, cost)
    return found


def to_json(found: Sequence[tuple[Trial, Cost]]) -> list[dict[str, Any]]:
    """Trials and costs as JSON values."""
    return [{**asdict(trial), **asdict(cost), "total": cost.total} for trial, cost in found]


def measure_here(trial: Trial) -> Cost:
    """Render a trial in this process. Its clip and caches are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mattebox-cost-") as folder:
        edit = _edit(trial, Path(folder))
        paths = RenderPaths(*(Path(folder) / name for name in ("inversions", "checkpoint", "adapters")))
        report = render(
            edit,
            models=ModelRegistry(),
            device=choose_device(trial.device),
            paths=paths,
            monitor=Silent(),
            write=_take_all,
        )
    return Cost(dict(report.seconds), report.peak_memory_mb)


def square_of(area: float, frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """Masks (frames, height, width) uint8 of a rectangle in the middle of the picture with a share of its
    area.
    """
    side = math.sqrt(area)
    rows, columns = max(1, round(height * side)), max(1, round(width * side))
    top, left = (height - rows) // 2, (width - columns) // 2
    masks = np.zeros((frames, height, width), np.uint8)
    masks[:, top : top + rows, left : left + columns] = 255
    return masks


def _edit(trial: Trial, folder: Path) -> Edit:
    scene = sample_scene(_SEED, frames=trial.frames)
    clip, frames = folder / "clip.mkv", render_scene(scene).frames
    write_clip(clip, iter(frames), fps=Fraction(12))
    masks = square_of(trial.area, trial.frames, scene.height, scene.width)
    pictured = find_method(trial.method).description.takes_references
    prompt = "a red circle"
    return Edit(
        clip=clip,
        clip_hash="",
        start=0,
        stop=trial.frames,
        prompt=f"{caption(scene)} and {prompt}",
        source_prompt=caption(scene),
        method=trial.method,
        backbone=trial.backbone,
        seed=0,
        regions=(Region("region", prompt, masks),),
        references=_references(frames, masks) if pictured else (),
        params=dict(trial.params),
    )


def _references(frames: NDArray[np.uint8], masks: NDArray[np.uint8]) -> tuple[Reference, ...]:
    """Pictures of the first frame and of the last, with the region in one colour."""
    colour = np.array((220, 40, 40), np.uint8)
    return tuple(
        Reference(at, np.where(masks[at][..., None] > 0, colour, frames[at]), "region")
        for at in sorted({0, len(frames) - 1})
    )


def _take_all(frames: Any) -> None:
    for _ in frames:
        pass


if __name__ == "__main__":
    answer(lambda given: measure_here(Trial(**given)))
