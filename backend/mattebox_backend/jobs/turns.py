"""Who may use the device: one at a time, in the order of asking."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_AGAIN = 0.2
"""Seconds after which one who waits is asked whether they still want to."""


class DeviceTurns:
    """The worker takes a turn for each job; whatever else computes takes one beside it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def turn(self, wanted: Callable[[], bool]) -> Iterator[bool]:
        """Waits; within the block the device is the caller's, until it ends. False instead, where `wanted`
        said no before the turn came.
        """
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
        try:
            yield self._comes(ticket, wanted)
        finally:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _comes(self, ticket: object, wanted: Callable[[], bool]) -> bool:
        with self._changed:
            while self._waiting[0] is not ticket:
                if not wanted():
                    return False
                self._changed.wait(_LOOK_AGAIN)
        return True
