"""Connections to a model, ended together when another one takes its place."""

from __future__ import annotations

from collections.abc import Callable


class Bindings:
    def __init__(self) -> None:
        self._ends: list[Callable[[], None]] = []

    def add(self, end: Callable[[], None]) -> None:
        """Keeps what `Signal.connect` returned."""
        self._ends.append(end)

    def clear(self) -> None:
        for end in self._ends:
            end()
        self._ends.clear()
