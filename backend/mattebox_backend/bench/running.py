"""Runs tasks through the renderer, in this process, and keeps the figures of each as soon as it is done."""

from __future__ import annotations

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
from mattebox_backend.bench.task_edit import build_edit, write_source
from mattebox_backend.bench.tasks import Task, cut, list_hash
from mattebox_backend.bench.told_figures import told_figures
from mattebox_backend.bench.variants import Params, Variant
from mattebox_backend.bench.workers import spread
from mattebox_backend.device import Device, choose_device
from mattebox_backend.edit import Edit
from mattebox_backend.errors import UnknownModel
from mattebox_backend.methods import find_method
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.render import RenderPaths, Report, Stage, render

if TYPE_CHECKING:
    from mattebox_backend.controls.composite import Frame
    from mattebox_backend.metrics.scorer import Scorer

_Errand: TypeAlias = tuple[Task, dict[str, Variant]]
"""A task, and the variants that it is to be run under."""
_Measured: TypeAlias = tuple[str, str, dict[str, Any]]
"""Variant, name of the task, figures."""

DEFAULT_SCORER: Final = "pocket-score"
"""The scorer that comes with Mattebox."""


@dataclass(frozen=True, slots=True)
class BenchRun:
    """What is run: the method, its parameters, the backbone and the device. work: a folder for clips,
    inversions and adapters, which runs may share, and for results, under `name`. scorer: the CLIP that judges
    the results, by name, folder or hub id. sensitivity: pixels by which masks are dilated for a second result
    to hold against the first; 0 makes none. frames: clips are cut to so many, where a variant says nothing
    of its own; None leaves them as they are.
    """

    method: str
    backbone: str
    params: Params
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
    variants: Mapping[str, Variant],
    results: Results,
    on_done: Callable[[str, str, Mapping[str, Any]], None],
    workers: int = 1,
) -> dict[str, Any]:
    """Run every task under every variant and return the results; ``results`` is rewritten after each, and
    what it holds is not run again.

    ``on_done`` gets the variant, the task and its figures. workers: with more than one, tasks are spread over
    so many processes, each with a model of its own, and results are kept task by task. Raises
    :class:`UnusableResults` when ``results`` belongs to another run, or holds another variant of the same
    name, and :class:`BenchError` when the default scorer is not installed.
    """
    device = choose_device(run.device)
    models = ModelRegistry()
    scorer = _load_scorer(run.scorer, models, device)
    data = results.resume(_key(run, tasks, models, device, scorer))
    whole = {name: variant.on(run.params) for name, variant in variants.items()}
    done = {name: results.of_variant(data, name, variant.to_json()) for name, variant in whole.items()}
    _check_references(run, tasks, whole)
    found: Generator[list[_Measured], None, None]
    todo: list[_Errand] = []
    for task in tasks:
        for variant in variants:
            if task.name in done[variant]:
                on_done(variant, task.name, done[variant][task.name])
        missing = {name: variant for name, variant in whole.items() if task.name not in done[name]}
        if missing:
            todo.append((task, missing))
    if workers > 1:
        models.unload()
        plain = replace(run, params=dict(run.params))  # a mapping of another kind may not travel
        found = spread(partial(_run_apart, plain), todo, min(workers, max(1, len(todo))))
    else:
        found = (
            [(name, task.name, _run_task(run, task, name, variant, models, device, scorer))]
            for task, missing in todo
            for name, variant in missing.items()
        )
    with closing(found):
        for measured in found:
            for variant, name, figures in measured:
                done[variant][name] = figures
            results.keep(data)
            for variant, name, figures in measured:
                on_done(variant, name, figures)
    return data


def _check_references(run: BenchRun, tasks: Sequence[Task], variants: Mapping[str, Variant]) -> None:
    """Raise `BenchError` where a variant asks for a frame that a task does not have."""
    if find_method(run.method).description.takes_references:
        for variant in variants.values():
            for task in tasks:
                variant.shown(cut(task, variant.frames or run.frames).scene.frames)


def _run_apart(run: BenchRun, errand: _Errand) -> list[_Measured]:
    """What a worker does: a task under every variant, which share its inversion and adapters."""
    task, missing = errand
    models, device = _own_models(), choose_device(run.device)
    scorer = _own_scorer(run.scorer, device)
    return [
        (name, task.name, _run_task(run, task, name, variant, models, device, scorer))
        for name, variant in missing.items()
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


def _load(run: BenchRun, models: ModelRegistry, device: Device) -> Any:
    """The backbone of the kind that the method runs on."""
    load = models.load_video if find_method(run.method).on_video_models else models.load
    return load(run.backbone, device)


def _key(
    run: BenchRun, tasks: Sequence[Task], models: ModelRegistry, device: Device, scorer: Scorer
) -> dict[str, Any]:
    """What the figures depend on, beside task and variant: with other weights, other defaults or another list
    of tasks, earlier figures are those of another run.
    """
    method = find_method(run.method)
    backbone = _load(run, models, device)
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
        "tasks": list_hash(tasks),
        **{name: value for name, value in asked.items() if value},
    }


def _run_task(
    run: BenchRun,
    task: Task,
    name: str,
    variant: Variant,
    models: ModelRegistry,
    device: Device,
    scorer: Scorer,
) -> dict[str, Any]:
    task = cut(task, variant.frames or run.frames)
    clip = write_source(task, run.work / "clips")
    edit = build_edit(task, clip, run.method, run.backbone, variant)
    began = time.perf_counter()
    frames, report = _render(run, edit, models, device)
    seconds = time.perf_counter() - began
    other = None
    if run.sensitivity:
        dilated = with_dilated_masks(edit, run.sensitivity)
        other = (_render(run, dilated, models, device)[0], dilated)
    shown = result_clip(run.work, run.name, name, task.name)
    shown.parent.mkdir(parents=True, exist_ok=True)
    write_clip(shown, iter(frames), fps=Fraction(12))
    method, backbone = find_method(run.method), _load(run, models, device)
    params = method.parse(edit.params, backbone.defaults.get(run.method))
    return {
        "level": task.level.value,
        **asdict(judge(task, frames, scorer)),
        **asdict(region_figures(frames, edit, other, None if method.on_video_models else backbone)),
        **asdict(told_figures(frames, task.source.frames, edit, params)),
        "seconds": round(seconds, 3),
        "training_seconds": round(report.seconds.get(Stage.TUNE, 0.0), 3),
        "peak_memory_mb": round(report.peak_memory_mb, 1),
        "background_exact_share": report.background_exact_share,
        "inversion_cached": report.inversion_cached,
    }


def result_clip(work: Path, run: str, variant: str, task: str) -> Path:
    """Where the frames lie that came of a task, in the folder `work` of a run of that name."""
    return work / "results" / run / variant / f"{task}.mkv"


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
