"""Runs tasks through the renderer, in this process, and keeps the figures of each as soon as it is done."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from mattebox_media import write_clip
from numpy.typing import NDArray

from mattebox_backend.bench.errors import BenchError
from mattebox_backend.bench.judging import judge
from mattebox_backend.bench.region_figures import region_figures, with_dilated_masks
from mattebox_backend.bench.results import Results
from mattebox_backend.bench.tasks import Task, cut, load_tasks, tasks_to_json
from mattebox_backend.bench.workers import spread
from mattebox_backend.device import Device, choose_device
from mattebox_backend.edit import Edit, Region
from mattebox_backend.errors import UnknownModel
from mattebox_backend.methods import find_method
from mattebox_backend.methods.sampling_parameters import NEVER
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.render import RenderPaths, Report, Stage, render

if TYPE_CHECKING:
    from mattebox_backend.controls.composite import Frame
    from mattebox_backend.metrics.scorer import Scorer

ParamValue: TypeAlias = bool | int | float | str

_Errand: TypeAlias = tuple[Task, dict[str, dict[str, ParamValue]]]
"""A task, and the parameters of every variant that it is to be run under."""
_Measured: TypeAlias = tuple[str, str, dict[str, Any]]
"""Variant, name of the task, figures."""

ABLATIONS: Final[dict[str, dict[str, dict[str, ParamValue]]]] = {
    "st-modulator": {
        "blend": {"cross": False, "self_modulation": False, "source_window": NEVER},
        "blend+source": {"cross": False, "self_modulation": False},
        "cross": {"cross": True, "self_modulation": False},
        "cross+self": {"cross": True, "self_modulation": True},
    },
    "roi-aware": {
        "global edit, then blend": {"integrated": False},
        "region-aware": {"integrated": True},
    },
}
"""For each method, its variants and the parameters that make them; the full method is named last."""


DEFAULT_SCORER: Final = "pocket-score"
"""The scorer that comes with Mattebox."""


@dataclass(frozen=True, slots=True)
class BenchRun:
    """What is run: the method, its parameters, the backbone and the device. work: a folder for clips and
    inversions, which runs may share, and for results, under `name`. scorer: the CLIP that judges the results,
    by name, folder or hub id. sensitivity: pixels by which masks are dilated for a second result to hold
    against the first; 0 makes none. frames: clips are cut to so many; None leaves them as they are.
    """

    method: str
    backbone: str
    params: Mapping[str, ParamValue]
    device: str
    work: Path
    scorer: str = DEFAULT_SCORER
    name: str = ""
    sensitivity: int = 0
    frames: int | None = None


class Silent:
    """A render monitor that says nothing and never cancels."""

    def progress(self, stage: Stage, step: int, of: int, preview: NDArray[np.uint8] | None = None) -> None:
        """Ignore the progress of a stage."""

    def figure(self, name: str, step: int, of: int, value: float) -> None:
        """Ignore a point of a curve."""

    def log(self, message: str) -> None:
        """Ignore a message."""


def run_tasks(
    run: BenchRun,
    tasks: Sequence[Task],
    variants: Mapping[str, Mapping[str, ParamValue]],
    results: Results,
    on_done: Callable[[str, str, Mapping[str, Any]], None],
    workers: int = 1,
) -> dict[str, Any]:
    """Run every task under every variant and return the results; ``results`` is rewritten after each, and
    what it holds is not run again.

    ``on_done`` gets the variant, the task and its figures. workers: with more than one, tasks are spread over
    so many processes, each with a model of its own, and results are kept task by task. Raises
    :class:`UnusableResults` when ``results`` belongs to another run, and :class:`BenchError` when the default
    scorer is not installed.
    """
    device = choose_device(run.device)
    models = ModelRegistry()
    scorer = _load_scorer(run.scorer, models, device)
    data = results.resume(_key(run, models, device, scorer))
    params = {variant: {**run.params, **extra} for variant, extra in variants.items()}
    done = {
        variant: data["variants"].setdefault(variant, {"params": params[variant], "tasks": {}})["tasks"]
        for variant in variants
    }
    found: Generator[list[_Measured], None, None]
    todo: list[_Errand] = []
    for task in tasks:
        for variant in variants:
            if task.name in done[variant]:
                on_done(variant, task.name, done[variant][task.name])
        missing = {variant: given for variant, given in params.items() if task.name not in done[variant]}
        if missing:
            todo.append((task, missing))
    if workers > 1:
        models.unload()
        plain = replace(run, params=dict(run.params))  # a mapping of another kind may not travel
        found = spread(partial(_run_apart, plain), todo, min(workers, max(1, len(todo))))
    else:
        found = (
            [(variant, task.name, _run_task(run, task, variant, given, models, device, scorer))]
            for task, missing in todo
            for variant, given in missing.items()
        )
    with closing(found):
        for measured in found:
            for variant, name, figures in measured:
                done[variant][name] = figures
            results.keep(data)
            for variant, name, figures in measured:
                on_done(variant, name, figures)
    return data


def _run_apart(run: BenchRun, errand: _Errand) -> list[_Measured]:
    """What a worker does: a task under every variant, which share its inversion."""
    task, missing = errand
    models, device = _own_models(), choose_device(run.device)
    scorer = _own_scorer(run.scorer, device)
    return [
        (variant, task.name, _run_task(run, task, variant, params, models, device, scorer))
        for variant, params in missing.items()
    ]


@cache
def _own_models() -> ModelRegistry:
    """A worker's, whose model stays loaded from task to task."""
    return ModelRegistry()


@cache
def _own_scorer(name: str, device: Device) -> Scorer:
    """A worker's, as well."""
    return _load_scorer(name, _own_models(), device)


def _load_scorer(name: str, models: ModelRegistry, device: Device) -> Scorer:
    try:
        return models.load_scorer(name, device)
    except UnknownModel as error:
        if name != DEFAULT_SCORER:
            raise
        raise BenchError(
            f"The scorer {name}, which judges the results, is not installed; make it with mattebox-train "
            f"{name}, or name another CLIP with --scorer."
        ) from error


def _key(run: BenchRun, models: ModelRegistry, device: Device, scorer: Scorer) -> dict[str, Any]:
    """What the figures depend on, beside task and variant: with other weights, other defaults or another list
    of tasks, earlier figures are those of another run.
    """
    method = find_method(run.method)
    backbone = models.load(run.backbone, device)
    # Only what a run asks for stands in its key: results that are older than a question stay good.
    asked = {"sensitivity": run.sensitivity, "frames": run.frames}
    return {
        "method": run.method,
        "backbone": run.backbone,
        "weights": backbone.identity,
        "scorer": run.scorer,
        "scorer_weights": scorer.identity,
        "params": asdict(method.parse(run.params, backbone.defaults.get(run.method))),
        "device": device.name,
        "tasks": hashlib.sha256(tasks_to_json(load_tasks()).encode()).hexdigest(),
        **{name: value for name, value in asked.items() if value},
    }


def build_edit(task: Task, clip: Path, method: str, backbone: str, params: Mapping[str, ParamValue]) -> Edit:
    """The edit that ``task`` asks for, of its source clip at ``clip``."""
    regions = tuple(
        Region(name=region.name, prompt=region.prompt, masks=task.region_masks(region), order=order)
        for order, region in enumerate(task.regions)
    )
    return Edit(
        clip=clip,
        clip_hash=_content_hash(task),
        start=0,
        stop=task.scene.frames,
        prompt=task.prompt,
        source_prompt=task.source_prompt,
        method=method,
        backbone=backbone,
        seed=task.seed,
        regions=regions,
        references=(),
        params=dict(params),
    )


def write_source(task: Task, folder: Path) -> Path:
    """The source clip of ``task`` as lossless video in ``folder``, named by its content."""
    path = folder / f"{task.name}-{_content_hash(task)[:12]}.mkv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_clip(path, iter(task.source.frames), fps=Fraction(12))
    return path


def _content_hash(task: Task) -> str:
    return hashlib.sha256(task.source.frames.tobytes()).hexdigest()


def _run_task(
    run: BenchRun,
    task: Task,
    variant: str,
    params: Mapping[str, ParamValue],
    models: ModelRegistry,
    device: Device,
    scorer: Scorer,
) -> dict[str, Any]:
    task = cut(task, run.frames)
    clip = write_source(task, run.work / "clips")
    edit = build_edit(task, clip, run.method, run.backbone, params)
    began = time.perf_counter()
    frames, report = _render(run, edit, models, device)
    seconds = time.perf_counter() - began
    other = None
    if run.sensitivity:
        dilated = with_dilated_masks(edit, run.sensitivity)
        other = (_render(run, dilated, models, device)[0], dilated)
    shown = run.work / "results" / run.name / variant
    shown.mkdir(parents=True, exist_ok=True)
    write_clip(shown / f"{task.name}.mkv", iter(frames), fps=Fraction(12))
    return {
        "level": task.level.value,
        **asdict(judge(task, frames, scorer)),
        **asdict(region_figures(frames, edit, other, models.load(run.backbone, device))),
        "seconds": round(seconds, 3),
        "peak_memory_mb": round(report.peak_memory_mb, 1),
        "background_exact_share": report.background_exact_share,
        "inversion_cached": report.inversion_cached,
    }


def _render(
    run: BenchRun, edit: Edit, models: ModelRegistry, device: Device
) -> tuple[NDArray[np.uint8], Report]:
    """The frames (F, H, W, 3) that come of an edit."""
    collected: list[Frame] = []

    def keep(frames: Iterator[Frame]) -> None:
        collected.extend(frames)

    # A checkpoint that a run before this one left would make the render seem to take no time.
    with tempfile.TemporaryDirectory(prefix="mattebox-bench-") as checkpoint:
        paths = RenderPaths(run.work / "inversions", Path(checkpoint), run.work / "adapters")
        report = render(edit, models=models, device=device, paths=paths, monitor=Silent(), write=keep)
    return np.stack([np.asarray(frame, np.uint8)[..., :3] for frame in collected]), report
