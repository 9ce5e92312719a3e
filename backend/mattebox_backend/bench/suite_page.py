"""One page of tables and plots out of a suite's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mattebox_backend.bench.claims import Finding, judge_ordering
from mattebox_backend.bench.plotting import load_pyplot
from mattebox_backend.bench.suites import Experiment
from mattebox_backend.metrics.bootstrap import Interval, bootstrap_interval
from mattebox_backend.pocket.checkpoint import write_atomically


def write_page(
    page: Path, suite: str, experiments: Sequence[Experiment], results: Mapping[str, Any], command: str
) -> None:
    """Markdown with a table and the fate of every ordering per experiment, and a plot beside it
    (`<page>-<experiment>.png`). Needs matplotlib (the extra `bench`).
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
        picture = page.with_name(f"{page.stem}-{experiment.name}.png")
        _plot(experiment, found["variants"], picture)
        parts += [
            *_table(experiment, found["variants"]),
            "",
            *_orderings(experiment, found["variants"]),
            "",
            f"![{experiment.title}]({picture.name})",
            "",
        ]
    write_atomically(page, ("\n".join(parts).rstrip() + "\n").encode())


def findings(experiment: Experiment, variants: Mapping[str, Any]) -> list[Finding]:
    """How each ordering of an experiment fared."""
    return [judge_ordering(ordering, variants) for ordering in experiment.orderings]


def _setting(experiment: Experiment, found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "Not run."
    tasks = max(len(done["tasks"]) for done in found["variants"].values())
    level = f"{experiment.level.value} tasks" if experiment.level else "tasks of all levels"
    what = "reconstruction of " if experiment.reconstruct else ""
    given = ", ".join(f"`{name} = {value}`" for name, value in experiment.params.items())
    said = [f"`{experiment.method}` on `{found['run']['backbone']}`", f"{what}{tasks} {level}"]
    said += [f"cut to {experiment.frames} frames"] if experiment.frames else []
    said += [given] if given else []
    if experiment.sensitivity:
        said.append(f"sensitivity to masks dilated by {experiment.sensitivity} pixels")
    return ", ".join(said) + "."


def _table(experiment: Experiment, variants: Mapping[str, Any]) -> list[str]:
    shown = [name for name in experiment.variants if name in variants]
    lines = ["| | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for figure in (*experiment.figures, "seconds", "peak_memory_mb"):
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
    shown = [name for name in experiment.variants if name in variants]
    figure, axes = pyplot.subplots(
        1, len(experiment.figures), figsize=(2.6 * len(experiment.figures), 3.2), squeeze=False
    )
    for axis, name in zip(axes[0], experiment.figures, strict=True):
        for place, variant in enumerate(shown):
            interval = _interval(variants[variant], name)
            if interval is not None:
                spread = [[interval.mean - interval.low], [interval.high - interval.mean]]
                axis.bar(place, interval.mean, yerr=spread, capsize=3)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.set_xticks(range(len(shown)), shown, rotation=60, ha="right", fontsize=7)
        axis.tick_params(axis="y", labelsize=7)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
