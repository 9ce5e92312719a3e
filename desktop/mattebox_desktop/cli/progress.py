"""Progress bars, on stderr, so that what a command prints can still be piped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mattebox_proto.mattebox.v1 import jobs_pb2
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from mattebox_desktop.model.curve import figure_words

STAGES: dict[int, str] = {
    jobs_pb2.STAGE_DECODE: "reading the clip",
    jobs_pb2.STAGE_MASKS: "preparing masks",
    jobs_pb2.STAGE_LOAD: "loading the model",
    jobs_pb2.STAGE_ENCODE: "encoding",
    jobs_pb2.STAGE_TUNE: "tuning",
    jobs_pb2.STAGE_INVERT: "inverting",
    jobs_pb2.STAGE_SAMPLE: "sampling",
    jobs_pb2.STAGE_DECODE_LATENTS: "decoding",
    jobs_pb2.STAGE_COMPOSITE: "compositing",
    jobs_pb2.STAGE_MEASURE: "measuring",
}

_Item = TypeVar("_Item")


class Bar:
    """One bar; `show` moves it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._words = ""
        self._stage = -1
        self._figure = ""

    def show(self, done: float, total: float, note: str | None = None) -> None:
        self._progress.update(self._task, completed=done, total=total)
        if note is not None:
            self._progress.update(self._task, note=note)

    def show_waiting(self, note: str) -> None:
        """What is going on, where nobody knows how far it is."""
        self._progress.update(self._task, total=None, note=note)

    def show_job(self, progress: jobs_pb2.JobProgress) -> None:
        note = STAGES.get(progress.stage, "")
        if progress.of > 1:
            note += f" {progress.step}/{progress.of}"
        if progress.eta_seconds >= 1:
            note += f", {_span(progress.eta_seconds)} left"
        if progress.stage != self._stage:  # a figure belongs to the stage that it came in
            self._stage, self._figure = progress.stage, ""
        self._words = note
        self.show(progress.fraction, 1.0, note + self._figure)

    def show_figure(self, figure: jobs_pb2.Figure) -> None:
        """The latest value of a curve, beside what the job is doing."""
        self._figure = f", {figure.name} {figure_words(figure.value)}"
        self._progress.update(self._task, note=self._words + self._figure)


@contextmanager
def bar(title: str) -> Iterator[Bar]:
    """Shows a bar while the block runs, where stderr is a terminal; a log file gets none."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(title, total=None, note=""))


def counted(items: Iterable[_Item], total: int, shown: Bar) -> Iterator[_Item]:
    """Passes the items on, and moves the bar with each."""
    shown.show(0, total)
    for done, item in enumerate(items, start=1):
        yield item
        shown.show(done, total)


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
