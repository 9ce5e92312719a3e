"""What can go wrong with a benchmark."""

from __future__ import annotations

from mattebox_backend.errors import MatteboxError


class BenchError(MatteboxError):
    """Base of the errors of a benchmark."""

    kind = "invalid-request"


class InvalidTasks(BenchError):
    """A task list that cannot be read."""


class UnusableResults(BenchError):
    """A file of results that another run made, or that is damaged."""
