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
from mattebox_backend.jobs.values import Progress


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
