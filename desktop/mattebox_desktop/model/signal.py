"""Signals in plain Python: who changed calls who listens, in the order of connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Signal(Generic[P]):
    """A list of slots that are called with the signal's arguments.

    A slot that connects or disconnects others while the signal runs takes effect from the next emit on.
    """

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: tuple[Callable[P, object], ...] = ()

    def connect(self, slot: Callable[P, object]) -> Callable[[], None]:
        """Calls `slot` on every emit; the function returned ends that."""
        self._slots = (*self._slots, slot)

        def disconnect() -> None:
            self._slots = tuple(other for other in self._slots if other is not slot)

        return disconnect

    def emit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        for slot in self._slots:
            slot(*args, **kwargs)
