"""A picture of what methods cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mattebox_backend.bench.plotting import load_pyplot

if TYPE_CHECKING:
    from mattebox_backend.bench.cost import Cost, Trial
    from mattebox_backend.bench.training_cost import TrainingCost, TrainingStep


def plot_cost(found: Sequence[tuple[Trial, Cost]], path: Path) -> None:
    """Seconds and peak memory against the clip's length and against the region's area, a line per trial's
    name. Needs matplotlib (the extra `bench`).
    """
    pyplot = load_pyplot()
    lengths = {trial.name for trial, _ in found if len(_values(found, trial.name, "frames")) > 1}
    areas = {trial.name for trial, _ in found if len(_values(found, trial.name, "area")) > 1}
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7), constrained_layout=True)
    for column, (names, axis_of, words) in enumerate(
        ((lengths, "frames", "frames"), (areas, "area", "share of the picture"))
    ):
        for name in sorted(names):
            rows = sorted(
                (getattr(trial, axis_of), cost.total, cost.peak_memory_mb)
                for trial, cost in found
                if trial.name == name
            )
            for row, values in enumerate(([r[1] for r in rows], [r[2] for r in rows])):
                axes[row][column].plot([r[0] for r in rows], values, marker="o", label=name)
        for row, title in enumerate(("seconds", "peak memory, MiB")):
            axes[row][column].set_xlabel(words)
            axes[row][column].set_ylabel(title)
            axes[row][column].set_ylim(bottom=0)
        if names:
            axes[0][column].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def plot_training(found: Sequence[tuple[TrainingStep, TrainingCost]], path: Path) -> None:
    """What a training step's activations take, whole and in windows, kept and computed again; and what the
    weights of the blocks take, and the time, as more and more blocks rest. Needs matplotlib.
    """
    pyplot = load_pyplot()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    bars = {
        f"{step.frames} frames\n{f'windows of {step.window}' if step.window else 'whole'}"
        f"{', again' if step.checkpointing else ''}": cost.activation_mb
        for step, cost in found
        if not step.swap
    }
    left.bar(range(len(bars)), list(bars.values()))
    left.set_xticks(range(len(bars)), list(bars), rotation=60, ha="right", fontsize=7)
    left.set_ylabel("activations, MiB")
    swapped = [step for step, _ in found if step.swap][:1]
    alike = [
        (cost.blocks_to_swap, cost.resident_mb, cost.seconds)
        for step, cost in found
        for of in swapped
        if (step.frames, step.window, step.checkpointing) == (of.frames, of.window, of.checkpointing)
    ]
    blocks = [place for place, _, _ in sorted(alike)]
    right.plot(blocks, [memory for _, memory, _ in sorted(alike)], marker="o")
    right.set_xlabel("blocks that rest off the device")
    right.set_ylabel("weights of blocks on the device, MiB")
    right.set_ylim(bottom=0)
    times = right.twinx()
    times.plot(blocks, [seconds for _, _, seconds in sorted(alike)], marker="s", linestyle="--", color="C1")
    times.set_ylabel("seconds a step (dashed)")
    times.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _values(found: Sequence[tuple[Trial, Cost]], name: str, what: str) -> set[float]:
    return {getattr(trial, what) for trial, _ in found if trial.name == name}
