"""What a running render talks to: progress, previews and log lines go in, a cancellation comes out."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mattebox_backend.errors import Cancelled
from mattebox_backend.jobs.estimate import Estimate
from mattebox_backend.jobs.previews import Previews
from mattebox_backend.jobs.store import JobStore
from mattebox_backend.jobs.values import Figure

if TYPE_CHECKING:
    from mattebox_backend.render import Stage

_SHORTEST_PAUSE = 0.1
"""Seconds between two progress events of one stage: a thousand decoded frames are not a thousand rows."""
_MOST_POINTS = 500
"""Events that one curve costs, however many steps it has: more than its picture has pixels across. A curve
that is no longer is told step by step.
"""


class Interrupted(Cancelled):
    """The backend is about to stop: the job goes on from its checkpoint when it is started again."""


class JobLog:
    """One job's log file: a line per message, and the traceback of what ended it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, text: str) -> None:
        """Appends with the time of day. A log that cannot be written never ends a job."""
        moment = datetime.now().astimezone().isoformat(sep=" ", timespec="milliseconds")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{moment}  {text}\n")
        except OSError:
            return


class JobMonitor:
    """`mattebox_backend.render.RenderMonitor` over the job store."""

    def __init__(
        self,
        job: str,
        store: JobStore,
        *,
        estimate: Estimate,
        previews: Previews,
        log: JobLog,
        stopping: threading.Event,
    ) -> None:
        self._job = job
        self._store = store
        self._previews = previews
        self._log = log
        self._stopping = stopping
        self._stage = ""
        self._last_event = 0.0
        self._number = 0
        self.estimate = estimate

    def progress(self, stage: Stage, step: int, of: int, preview: NDArray[np.uint8] | None = None) -> None:
        """Records the step; raises Cancelled when the user cancelled, Interrupted when the backend stops."""
        if self._store.cancel_requested(self._job):
            raise Cancelled("The job was cancelled.")
        if self._stopping.is_set():
            raise Interrupted("The backend is stopping; the job goes on when it is started again.")
        name, now = stage.value, time.monotonic()
        progress = self.estimate.at(name, step, of)
        if name != self._stage:
            self._log.write(f"stage {name}")
        begins_or_ends = name != self._stage or step >= of
        if begins_or_ends or preview is not None or now - self._last_event >= _SHORTEST_PAUSE:
            self._stage, self._last_event = name, now
            self._number = self._store.progress(self._job, progress)
        if preview is not None:
            self._previews.show(self._job, self._number, preview)

    def figure(self, name: str, step: int, of: int, value: float) -> None:
        """See `RenderMonitor.figure`. Which steps are kept depends on their number alone: a job that is
        picked up again tells the same ones.
        """
        figure = Figure(name, step, of, value)
        stride = -(-of // _MOST_POINTS)
        if (step - 1) % stride == 0 or step == of:
            self._store.figure(self._job, figure)

    def log(self, message: str) -> None:
        self._log.write(message)
        self._store.log(self._job, message)
