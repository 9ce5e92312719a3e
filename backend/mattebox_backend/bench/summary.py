"""Figures of many tasks, as a table, as JSON and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from mattebox_backend.bench.judging import Verdict
from mattebox_backend.bench.plotting import load_pyplot
from mattebox_backend.bench.tasks import Level
from mattebox_backend.metrics.bootstrap import Interval, bootstrap_interval

COLUMNS = [*Verdict.names(), "seconds", "peak_memory_mb"]
PLOTTED = ("accuracy", "colour", "placement", "psnr", "leak", "unsteadiness", "boundary", "warp")

Summary = dict[str, dict[str, dict[str, Interval | None]]]


def summarise(data: Mapping[str, Any]) -> Summary:
    """variant → level (and "all") → figure → mean with its 95 % bootstrap interval over the tasks."""
    summary: Summary = {}
    for variant, done in data["variants"].items():
        tasks = list(done["tasks"].values())
        groups = {"all": tasks} | {
            level.value: [t for t in tasks if t["level"] == level.value] for level in Level
        }
        summary[variant] = {
            name: {figure: bootstrap_interval([t.get(figure) for t in group]) for figure in COLUMNS}
            for name, group in groups.items()
            if group
        }
    return summary


def summary_to_json(summary: Summary) -> dict[str, Any]:
    """JSON values of a summary."""
    return {
        variant: {
            group: {figure: asdict(interval) if interval else None for figure, interval in figures.items()}
            for group, figures in groups.items()
        }
        for variant, groups in summary.items()
    }


def table(summary: Summary, title: str) -> Table:
    """One row per figure, one column per variant and level."""
    made = Table(title=title, show_lines=False)
    made.add_column("figure")
    columns = [
        (variant, group)
        for variant, groups in summary.items()
        for group in groups
        if group != "all" or len(groups) > 2
    ]
    for variant, group in columns:
        made.add_column(f"{variant}\n{group}", justify="right")
    for figure in COLUMNS:
        made.add_row(
            figure.replace("_", " "), *[_cell(summary[variant][group][figure]) for variant, group in columns]
        )
    return made


def plot(summary: Summary, path: Path) -> None:
    """Bars with intervals, a panel per figure, a group per level, a bar per variant. Needs matplotlib (the
    extra ``bench``).
    """
    plt = load_pyplot()
    groups = [level.value for level in Level if any(level.value in levels for levels in summary.values())]
    figure, axes = plt.subplots(2, 4, figsize=(15, 6.5), constrained_layout=True)
    for axis, name in zip(axes.flat, PLOTTED, strict=True):
        _panel(axis, summary, groups, name)
    axes.flat[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axis: Any, summary: Summary, groups: list[str], name: str) -> None:
    width = 0.8 / max(1, len(summary))
    for place, (variant, levels) in enumerate(summary.items()):
        known = [(n, levels[g][name]) for n, g in enumerate(groups) if g in levels]
        shown = [(n, interval) for n, interval in known if interval is not None]
        axis.bar(
            [n + place * width for n, _ in shown],
            [i.mean for _, i in shown],
            width,
            yerr=[[i.mean - i.low for _, i in shown], [i.high - i.mean for _, i in shown]],
            label=variant,
            capsize=2,
        )
    axis.set_title(name)
    axis.set_xticks([n + 0.4 - width / 2 for n in range(len(groups))], groups)


def _cell(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.mean:.3g} [{interval.low:.3g}, {interval.high:.3g}]"
