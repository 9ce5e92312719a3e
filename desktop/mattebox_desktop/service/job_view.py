"""Jobs, methods and the backend itself, as plain values for the views: no message of the wire goes
further.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mattebox_desktop.model.curve import Curve
from mattebox_desktop.model.project import Value


class JobState(StrEnum):
    SENDING = "sending"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True, eq=False)
class JobView:
    """One row of the queue.

    key: of this desktop, from the moment of asking. id: the backend's, "" while the edit is being sent.
    fraction: of the whole job, 0 to 1. eta: seconds, None while it is not known. preview: (H, W, 3) uint8.
    curves: what the job has told of itself over its steps, in the order of their first figures.
    """

    key: str
    title: str
    state: JobState
    id: str = ""
    stage: str = ""
    step: int = 0
    of: int = 0
    fraction: float = 0.0
    eta: float | None = None
    preview: NDArray[np.uint8] | None = None
    curves: tuple[Curve, ...] = ()
    error: str = ""
    error_kind: str = ""


@dataclass(frozen=True, slots=True)
class TakeView:
    """A take as the backend describes it. path: on the backend's disk."""

    id: str
    job: str
    clip: str
    path: str
    start: int
    stop: int
    seed: int
    prompt: str
    made: str
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """A parameter of a method. kind: "bool", "int", "float" or "text". low, high: None where there is no
    bound.
    """

    name: str
    kind: str
    default: Value
    unit: str
    description: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """families: the model families that it runs on; empty: not restricted."""

    id: str
    title: str
    summary: str
    available: bool
    parameters: tuple[ParameterInfo, ...]
    takes_references: bool = False
    families: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """defaults: by method, the parameters that this model does best with. shipped: it came with Mattebox."""

    id: str
    family: str
    available: bool
    note: str
    defaults: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    shipped: bool = False


@dataclass(frozen=True, slots=True)
class CaptionerInfo:
    """note: where there is none that can be used, why, and how to get one."""

    available: bool
    note: str


class ConnectionState(Enum):
    """Where the desktop stands with its backend."""

    IDLE = auto()  # not asked for yet
    STARTING = auto()
    READY = auto()
    GONE = auto()  # it was there and went away; it is being started again
    FAILED = auto()  # it could not be started, or went away too often
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """words: for the status dot ("local · CPU · ready"). why: one sentence when it failed."""

    state: ConnectionState
    words: str
    why: str = ""
