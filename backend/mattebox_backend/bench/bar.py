"""The bar that a benchmark shows while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mattebox_backend.bench.results import Results
from mattebox_backend.bench.running import BenchRun, run_tasks
from mattebox_backend.bench.tasks import Task
from mattebox_backend.bench.variants import Variant


def progress_bar() -> Progress:
    """On stderr: what is done now, how much of how many, and the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def run_with_bar(
    title: str,
    run: BenchRun,
    tasks: Sequence[Task],
    variants: Mapping[str, Variant],
    results: Results,
    workers: int,
) -> dict[str, Any]:
    """`run_tasks` under a bar of that title."""
    with progress_bar() as bar:
        line = bar.add_task(title, total=len(tasks) * len(variants))

        def on_done(variant: str, task: str, figures: Mapping[str, Any]) -> None:
            accuracy = figures["accuracy"]
            said = "" if accuracy is None else f", accuracy {accuracy:.2f}"
            bar.update(line, advance=1, description=f"{title}: {task} {variant}{said}")

        return run_tasks(run, tasks, variants, results, on_done, workers)
