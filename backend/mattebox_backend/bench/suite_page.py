"""One page of tables and plots out of a suite's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mattebox_backend.bench.claims import Finding, judge_ordering
from mattebox_backend.bench.contact_sheet import write_sheet
from mattebox_backend.bench.experiments import Experiment
from mattebox_backend.bench.plotting import load_pyplot
from mattebox_backend.metrics.bootstrap import Interval, bootstrap_interval
from mattebox_backend.pocket.checkpoint import write_atomically


def write_page(
    page: Path,
    suite: str,
    experiments: Sequence[Experiment],
    results: Mapping[str, Any],
    command: str,
    work: Path,
) -> None:
    """Markdown with a table and the fate of every ordering per experiment, and beside it a plot
    (`<page>-<experiment>.png`) and, where the experiment asks for it and the results still lie in the folder
    `work`, frames of a task (`.jpg`). Needs matplotlib (the extra `bench`).
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    parts = [
        f"# The suite “{suite}”",
        "",
        f"Made by `{command}`. Brackets are 95 % bootstrap intervals over tasks; an ordering came out "
        "*within the noise* where the interval of the paired gain holds 0.",
        "",
    ]
    for experiment in experiments:
        found = results.get(experiment.name)
        parts += [f"## {experiment.title}", "", f"*{experiment.source}.* " + _setting(experiment, found), ""]
        if found is None:
            continue
        picture = page.with_name(f"{page.stem}-{experiment.name.removeprefix(f'{page.stem}-')}.png")
        _plot(experiment, found["variants"], picture)
        parts += [
            *_table(experiment, found["variants"]),
            "",
            *_orderings(experiment, found["variants"]),
            "",
            f"![{experiment.title}]({picture.name})",
            "",
        ]
        frames = picture.with_suffix(".jpg")
        if experiment.sheet and write_sheet(experiment, _shown(experiment, found["variants"]), work, frames):
            parts += [f"![Frames of one task]({frames.name})", ""]
    write_atomically(page, ("\n".join(parts).rstrip() + "\n").encode())


def findings(experiment: Experiment, variants: Mapping[str, Any]) -> list[Finding]:
    """How each ordering of an experiment fared."""
    return [judge_ordering(ordering, variants) for ordering in experiment.orderings]


def _setting(experiment: Experiment, found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "Not run."
    tasks = max(len(done["tasks"]) for done in found["variants"].values())
    levels = " and ".join(level.value for level in experiment.levels)
    level = f"{levels} tasks" if levels else "tasks of all levels"
    what = "reconstruction of " if experiment.reconstruct else ""
    given = ", ".join(f"`{name} = {value}`" for name, value in experiment.params.items())
    said = [f"`{experiment.method}` on `{found['run']['backbone']}`", f"{what}{tasks} {level}"]
    if experiment.frames and not _over_lengths(experiment):
        said.append(f"cut to {experiment.frames} frames")
    said += [given] if given else []
    if experiment.sensitivity:
        said.append(f"sensitivity to masks dilated by {experiment.sensitivity} pixels")
    return ", ".join(said) + "."


def _shown(experiment: Experiment, variants: Mapping[str, Any]) -> list[str]:
    """The variants that there are results of."""
    return [name for name in experiment.variants if name in variants]


def _over_lengths(experiment: Experiment) -> bool:
    """Whether the variants are clips of different lengths."""
    return all(variant.frames is not None for variant in experiment.variants.values())


def _table(experiment: Experiment, variants: Mapping[str, Any]) -> list[str]:
    shown = _shown(experiment, variants)
    lines = ["| | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for figure in (*experiment.figures, "seconds", "training_seconds", "peak_memory_mb"):
        cells = [_cell(_interval(variants[name], figure)) for name in shown]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {figure.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return lines


def _orderings(experiment: Experiment, variants: Mapping[str, Any]) -> list[str]:
    lines = []
    for finding in findings(experiment, variants):
        gains = ", ".join(_cell(gain, signed=True) for gain in finding.gains)
        lines.append(f"- {finding.ordering.words}: {finding.verdict} (gain {gains})")
    return lines


def _interval(done: Mapping[str, Any], figure: str) -> Interval | None:
    return bootstrap_interval([task.get(figure) for task in done["tasks"].values()])


def _cell(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return "–"
    sign = "+" if signed else ""
    return f"{interval.mean:{sign}.3g} [{interval.low:{sign}.3g}, {interval.high:{sign}.3g}]"


def _plot(experiment: Experiment, variants: Mapping[str, Any], picture: Path) -> None:
    pyplot = load_pyplot()
    shown = _shown(experiment, variants)
    figure, axes = pyplot.subplots(
        1, len(experiment.figures), figsize=(2.6 * len(experiment.figures), 3.2), squeeze=False
    )
    for axis, name in zip(axes[0], experiment.figures, strict=True):
        found = {variant: _interval(variants[variant], name) for variant in shown}
        known = {variant: interval for variant, interval in found.items() if interval is not None}
        if _over_lengths(experiment):
            _curve(axis, {experiment.variants[v].frames or 0: i for v, i in known.items()})
        else:
            _bars(axis, shown, known)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.tick_params(axis="y", labelsize=7)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _bars(axis: Any, shown: Sequence[str], intervals: Mapping[str, Interval]) -> None:
    for place, variant in enumerate(shown):
        if variant in intervals:
            interval = intervals[variant]
            axis.bar(place, interval.mean, yerr=_errors([interval]), capsize=3)
    axis.set_xticks(range(len(shown)), shown, rotation=60, ha="right", fontsize=7)


def _curve(axis: Any, intervals: Mapping[int, Interval]) -> None:
    """Over the number of frames."""
    lengths = sorted(intervals)
    found = [intervals[length] for length in lengths]
    means = [interval.mean for interval in found]
    axis.errorbar(lengths, means, yerr=_errors(found), marker="o", capsize=3)
    axis.set_xticks(lengths)
    axis.set_xlabel("frames", fontsize=8)
    axis.tick_params(axis="x", labelsize=7)


def _errors(intervals: Sequence[Interval]) -> list[list[float]]:
    return [[i.mean - i.low for i in intervals], [i.high - i.mean for i in intervals]]
