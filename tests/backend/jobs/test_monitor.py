"""What a running render is told, and what it tells."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest
from mattebox_backend.errors import Cancelled
from mattebox_backend.jobs.estimate import Estimate
from mattebox_backend.jobs.monitor import Interrupted, JobLog, JobMonitor
from mattebox_backend.jobs.queue import JobQueue
from mattebox_backend.jobs.values import Figure, Progress


class Stage(StrEnum):
    DECODE = "decode"
    SAMPLE = "sample"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    opened = JobQueue(tmp_path / "jobs.db")
    yield opened
    opened.close()


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def monitor(queue: JobQueue, stopping: threading.Event, tmp_path: Path) -> JobMonitor:
    job = queue.submit(title="a job", clip="c", edit=b"")
    queue.store.take_next()
    return JobMonitor(
        job.id,
        queue.store,
        estimate=Estimate({}),
        previews=queue.previews,
        log=JobLog(tmp_path / "logs" / "job.log"),
        stopping=stopping,
    )


def steps(queue: JobQueue) -> list[tuple[str, int]]:
    job = queue.store.jobs()[0].id
    events = [event.what for event in queue.store.events(job)]
    return [(what.stage, what.step) for what in events if isinstance(what, Progress)]


def test_a_thousand_quick_steps_are_few_events_and_the_last_is_among_them(
    queue: JobQueue, monitor: JobMonitor
) -> None:
    for step in range(1001):
        monitor.progress(Stage.DECODE, step, 1000)  # type: ignore[arg-type]
    monitor.progress(Stage.SAMPLE, 0, 50)  # type: ignore[arg-type]
    told = steps(queue)
    assert told[0] == ("decode", 0)
    assert told[-2:] == [("decode", 1000), ("sample", 0)]
    assert len(told) < 200


def figures(queue: JobQueue) -> list[Figure]:
    job = queue.store.jobs()[0].id
    return [event.what for event in queue.store.events(job) if isinstance(event.what, Figure)]


def test_every_step_of_a_short_curve_is_an_event(queue: JobQueue, monitor: JobMonitor) -> None:
    for step in range(1, 201):
        monitor.figure("motion loss", step, 200, 1 / step)
    assert figures(queue) == [Figure("motion loss", step, 200, 1 / step) for step in range(1, 201)]


@pytest.mark.parametrize("steps", [500, 501, 3000, 100_000])
def test_a_long_curve_costs_few_events_which_span_it(
    queue: JobQueue, monitor: JobMonitor, steps: int
) -> None:
    # All but the kept steps write nothing, so that a hundred thousand of them take no time.
    for step in range(1, steps + 1):
        monitor.figure("motion loss", step, steps, float(step))
    told = [figure.step for figure in figures(queue)]
    assert 250 <= len(told) <= 501
    assert (told[0], told[-1]) == (1, steps)
    gaps = np.diff(told)
    assert gaps[:-1].min() == gaps[:-1].max() == -(-steps // 500)
    assert [event.sequence for event in queue.store.events(queue.store.jobs()[0].id)] == list(
        range(1, len(told) + 3)
    )


@pytest.mark.parametrize(
    ("name", "step", "of", "value", "words"),
    [
        ("motion loss", 3, 9, float("nan"), "“motion loss” is nan at step 3"),
        ("motion loss", 3, 9, float("inf"), "is inf at step 3"),
        ("motion loss", 3, 9, float("-inf"), "tell the last finite one"),
        ("motion loss", 0, 9, 1.0, "step 0 of 9"),
        ("motion loss", 10, 9, 1.0, "step 10 of 9"),
        (" ", 1, 9, 1.0, "no name"),
    ],
)
def test_a_figure_that_no_curve_can_show_is_refused_with_the_reason(
    queue: JobQueue, monitor: JobMonitor, name: str, step: int, of: int, value: float, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        monitor.figure(name, step, of, value)
    assert figures(queue) == []


def test_a_preview_is_kept_as_it_was_shown(queue: JobQueue, monitor: JobMonitor) -> None:
    job = queue.store.jobs()[0].id
    picture = np.full((2, 2, 3), 9, np.uint8)
    monitor.progress(Stage.SAMPLE, 1, 50, picture)  # type: ignore[arg-type]
    picture[:] = 0
    preview = queue.previews.latest(job)
    assert preview is not None
    assert preview.image.max() == 9
    assert preview.sequence == queue.store.events(job)[-1].sequence


def test_a_cancel_reaches_the_very_next_step(queue: JobQueue, monitor: JobMonitor) -> None:
    monitor.progress(Stage.SAMPLE, 1, 50)  # type: ignore[arg-type]
    queue.cancel(queue.store.jobs()[0].id)
    with pytest.raises(Cancelled) as stop:
        monitor.progress(Stage.SAMPLE, 2, 50)  # type: ignore[arg-type]
    assert not isinstance(stop.value, Interrupted)


def test_a_stopping_backend_interrupts_and_a_cancel_goes_first(
    queue: JobQueue, monitor: JobMonitor, stopping: threading.Event
) -> None:
    stopping.set()
    with pytest.raises(Interrupted):
        monitor.progress(Stage.SAMPLE, 1, 50)  # type: ignore[arg-type]
    queue.cancel(queue.store.jobs()[0].id)
    with pytest.raises(Cancelled) as stop:
        monitor.progress(Stage.SAMPLE, 1, 50)  # type: ignore[arg-type]
    assert not isinstance(stop.value, Interrupted)


def test_a_log_that_cannot_be_written_ends_no_job(
    queue: JobQueue, monitor: JobMonitor, tmp_path: Path
) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    monitor.log("hello")
    assert len(queue.store.events(queue.store.jobs()[0].id)) == 3
