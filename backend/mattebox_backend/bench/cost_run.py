"""Runs the measurements of cost: whole renders, updates of re-attention, training of adapters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mattebox_backend.bench import cost as costs
from mattebox_backend.bench import training_cost, update_cost
from mattebox_backend.bench.bar import progress_bar
from mattebox_backend.bench.cost_plot import plot_cost, plot_training
from mattebox_backend.bench.errors import UnusableResults
from mattebox_backend.pocket.checkpoint import write_atomically


class Part(StrEnum):
    """What can be measured by itself."""

    RENDERS = "renders"
    UPDATES = "updates"
    TRAINING = "training"


@dataclass(frozen=True, slots=True)
class CostRun:
    """parts: that are measured. frames, area: of the renders. backbone: of renders and updates;
    video_backbone: of what is trained.
    """

    parts: Sequence[Part]
    frames: Sequence[int]
    area: Sequence[float]
    backbone: str
    video_backbone: str
    device: str


def run_costs(run: CostRun, json_file: Path, picture: Path | None) -> None:
    """Measure, and show tables. json_file gets the figures as soon as they are known; those of parts that
    are not measured stay as they are. picture: PNG for plots; that of training lies beside it as
    `<name>-training.png`.

    Raises `UnusableResults` for a file that is there and holds something else, and `BenchError` for a
    measurement that did not finish.
    """
    figures = _read(json_file)
    for part, measure in _MEASURES:
        if part in run.parts:
            table = measure(run, figures, picture)
            write_atomically(json_file, (json.dumps(figures, indent=1) + "\n").encode())
            Console().print(table)


def _renders(run: CostRun, figures: dict[str, Any], picture: Path | None) -> Table:
    trials = [
        *costs.trials_over_frames(run.backbone, run.device, run.frames or costs.FRAMES),
        *costs.trials_over_area(run.backbone, run.device, run.area or costs.AREAS),
    ]
    found = _measured_renders(trials)
    figures["renders"] = costs.to_json(found)
    if picture is not None:
        plot_cost(found, picture)
    return _table_of_renders(found, f"A render on {run.backbone}")


def _updates(run: CostRun, figures: dict[str, Any], picture: Path | None) -> Table:
    chosen = update_cost.updates(run.backbone, run.device)
    with progress_bar() as bar:
        line = bar.add_task("cost", total=len(chosen))
        found = update_cost.measure_updates(
            chosen,
            lambda one: bar.update(line, advance=1, description=f"an update over {one.frames} frames"),
        )
    figures["updates"] = update_cost.to_json(found)
    table = Table("frames", "window", "checkpointing", "seconds", "memory, MiB", title="An update alone")
    for update, cost in found:
        table.add_row(
            str(update.frames),
            str(update.window or "all"),
            _yes(update.checkpointing),
            f"{cost.seconds:.1f}",
            f"{cost.memory_mb:.0f}",
        )
    return table


def _training_steps(run: CostRun, figures: dict[str, Any], picture: Path | None) -> Table:
    chosen = training_cost.steps(run.video_backbone, run.device)
    with progress_bar() as bar:
        line = bar.add_task("cost", total=len(chosen))
        found = training_cost.measure_steps(
            chosen,
            lambda one: bar.update(line, advance=1, description=f"training on {one.frames} frames"),
        )
    figures["training"] = training_cost.to_json(found)
    if picture is not None:
        plot_training(found, picture.with_name(f"{picture.stem}-training.png"))
    columns = ("frames", "window", "checkpointing", "swapped", "activations, MiB", "weights, MiB")
    table = Table(*columns, "memory, MiB", "seconds", title=f"A training step on {run.video_backbone}")
    for step, cost in found:
        table.add_row(
            str(step.frames),
            str(step.window or "all"),
            _yes(step.checkpointing),
            f"{cost.blocks_to_swap} of {cost.blocks}",
            f"{cost.activation_mb:.1f}",
            f"{cost.resident_mb:.1f}",
            f"{cost.memory_mb:+.0f}",
            f"{cost.seconds:.2f}",
        )
    return table


def _training_renders(run: CostRun, figures: dict[str, Any], picture: Path | None) -> Table:
    found = _measured_renders(costs.trials_of_training(run.video_backbone, run.device))
    figures["training_renders"] = costs.to_json(found)
    return _table_of_renders(found, f"An edit on {run.video_backbone}")


_MEASURES = (
    (Part.RENDERS, _renders),
    (Part.UPDATES, _updates),
    (Part.TRAINING, _training_steps),
    (Part.TRAINING, _training_renders),
)


def _measured_renders(trials: Sequence[costs.Trial]) -> list[tuple[costs.Trial, costs.Cost]]:
    with progress_bar() as bar:
        line = bar.add_task("cost", total=len(trials))

        def on_done(trial: costs.Trial, _: costs.Cost) -> None:
            bar.update(line, advance=1, description=f"{trial.name}, {trial.frames} frames")

        return costs.measure_all(trials, on_done)


def _table_of_renders(found: Sequence[tuple[costs.Trial, costs.Cost]], title: str) -> Table:
    table = Table("what", "frames", "area", "seconds", "memory, MiB", title=title)
    for trial, cost in found:
        table.add_row(
            trial.name,
            str(trial.frames),
            f"{trial.area:.0%}",
            f"{cost.total:.1f}",
            f"{cost.peak_memory_mb:.0f}",
        )
    return table


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def _read(json_file: Path) -> dict[str, Any]:
    if not json_file.exists():
        return {}
    try:
        data = json.loads(json_file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnusableResults(
            f"The figures {json_file} cannot be read ({error}); name another file."
        ) from error
    if not isinstance(data, dict) or not set(data) <= {*Part, "training_renders"}:
        raise UnusableResults(f"The file {json_file} holds no figures of cost; name another file.")
    return data
