"""What the bar above the viewer says: what happened, why, and the one thing to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Remedy:
    """The one button: its words, and what it does."""

    words: str
    act: Callable[[], object] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """what: a few words. why: one sentence. report: everything worth copying into a bug report.

    topic: a later notice of the same topic replaces this one, and `Workspace.settle` takes it away.
    """

    what: str
    why: str
    severity: Severity = Severity.ERROR
    remedy: Remedy | None = None
    report: str = ""
    topic: str = ""


class Say(Protocol):
    """Says something in the bar."""

    def __call__(
        self,
        what: str,
        why: str,
        remedy: Remedy | None = None,
        *,
        severity: Severity = Severity.ERROR,
        topic: str = "",
    ) -> None: ...
