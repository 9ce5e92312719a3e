"""The queue as its clients see it: submit, look, watch, cancel."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mattebox_backend.errors import TooLarge
from mattebox_backend.jobs.previews import Preview, Previews
from mattebox_backend.jobs.store import JobStore
from mattebox_backend.jobs.values import Event, Job, JobState, StateChange

_LOOK_AGAIN = 0.5
"""Seconds after which a waiting watcher looks whether its client is still there."""


class Changes:
    """Tells any number of waiting threads that something changed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    def announce(self) -> None:
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def count(self) -> int:
        with self._condition:
            return self._count

    def wait(self, seen: int, timeout: float) -> None:
        """Returns once `count` is no longer `seen`, or after `timeout` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self._count != seen, timeout)


class JobQueue:
    """Jobs, from any thread. limit: jobs that may wait or run at one time."""

    def __init__(self, database: Path, *, limit: int = 1000) -> None:
        self.changes = Changes()
        self.store = JobStore(database, self.changes.announce)
        self.previews = Previews(self.changes.announce)
        self._limit = limit

    def submit(self, *, title: str, clip: str, edit: bytes) -> Job:
        """Queues an edit (a serialised message). Raises TooLarge when the queue is full."""
        if self.store.unfinished_count() >= self._limit:
            raise TooLarge(
                f"The queue holds {self._limit} jobs already; wait for some to end, or cancel them."
            )
        job = Job(secrets.token_hex(8), JobState.QUEUED, title, clip, submitted=time.time())
        return self.store.add(job, edit)

    def cancel(self, job: str) -> Job:
        """Cancels a queued job at once, a running one within a step. Raises NotFound."""
        return self.store.request_cancel(job)

    def watch(
        self, job: str, *, after: int = 0, previews: bool = False, alive: Callable[[], bool] = lambda: True
    ) -> Iterator[Event | Preview]:
        """Every event above `after`, then live ones until the job ends or `alive` says no.

        Raises NotFound.
        """
        self.store.get(job)
        shown: Preview | None = None
        while alive():
            seen = self.changes.count()
            ended = self.store.get(job).state.ended
            events = self.store.events(job, after)
            preview = self.previews.latest(job) if previews else None
            for event in events:
                after = event.sequence
                yield event
                if isinstance(event.what, StateChange) and event.what.job.state.ended:
                    return
            if ended:
                return
            if preview is not None and preview is not shown:
                shown = preview
                yield preview
            self.changes.wait(seen, _LOOK_AGAIN)

    def close(self) -> None:
        self.store.close()
