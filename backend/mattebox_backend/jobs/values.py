"""Jobs, their progress and their events, as values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in ENDED


ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Progress:
    """stage: a `mattebox_backend.render.Stage`, by value. step of `of`: within the stage.

    eta_seconds: for the whole job, None while it is not known. fraction: of the whole job, 0 to 1.
    """

    stage: str
    step: int
    of: int
    eta_seconds: float | None
    fraction: float


@dataclass(frozen=True, slots=True)
class Job:
    """submitted, started, ended: seconds since the epoch. clip: its content hash. take: its id, when done.

    error, error_kind: one sentence and `MatteboxError.kind`, when failed. resumes: how often a restarted
    backend picked the job up.
    """

    id: str
    state: JobState
    title: str
    clip: str
    submitted: float
    started: float | None = None
    ended: float | None = None
    error: str = ""
    error_kind: str = ""
    take: str = ""
    progress: Progress | None = None
    resumes: int = 0


@dataclass(frozen=True, slots=True)
class StateChange:
    """The job as it was when it entered its state."""

    job: Job


@dataclass(frozen=True, slots=True)
class LogLine:
    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One point of a curve, such as the loss of a training: its value at a step of `of`.

    Raises ValueError for one that no curve can show: no name, a step outside 1 to `of`, a value that is not
    finite.
    """

    name: str
    step: int
    of: int
    value: float

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("A figure has no name; name what it measures, such as “motion loss”.")
        if not 1 <= self.step <= self.of:
            raise ValueError(
                f"The figure “{self.name}” is told for step {self.step} of {self.of}; count steps from 1 to "
                "their number."
            )
        if not math.isfinite(self.value):
            raise ValueError(
                f"The figure “{self.name}” is {self.value} at step {self.step}, which no curve shows; stop "
                "there, tell the last finite one, and say why in the log."
            )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job. sequence: from 1, without gaps. time: seconds since the epoch."""

    sequence: int
    time: float
    what: StateChange | Progress | LogLine | Figure
