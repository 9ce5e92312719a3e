"""What a call computes on the device beside the jobs: when its turn comes, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

import grpc

from mattebox_backend.errors import Cancelled, TooLarge
from mattebox_backend.jobs.engine import Engine
from mattebox_backend.jobs.turns import DeviceTurns

Event = TypeVar("Event")
Say = Callable[[Event], None]
"""Tells the client of the work. Raises Cancelled when nobody waits for it any more."""
Work = Callable[[Say[Event]], Iterable[Event]]
"""What is computed; what it returns is told once the device is free again."""


class Errands(Generic[Event]):
    """The calls of one kind that are under way.

    most: each holds a thread of the server's while it waits or works. what: they, as in "searches for
    regions". cancelled: the sentence about one that is. stopping: set when the backend is about to end.
    """

    def __init__(
        self,
        engine: Engine,
        turns: DeviceTurns,
        stopping: threading.Event,
        *,
        most: int,
        what: str,
        cancelled: str,
    ) -> None:
        self._engine = engine
        self._turns = turns
        self._stopping = stopping
        self._most = most
        self._what = what
        self._cancelled = cancelled
        self._free = threading.BoundedSemaphore(most)

    def run(self, context: grpc.ServicerContext, waiting: Event, work: Work[Event]) -> Iterator[Event]:
        """Says `waiting` at once, and what the work says when the device is free; raises what it raises."""
        if not self._free.acquire(blocking=False):
            raise TooLarge(f"{self._most} {self._what} are under way already; wait for one to end.")
        # A thread of its own, so that its turn ends with it, also when nobody reads on.
        errand = _Errand(self._engine, self._turns, work, lambda: self._goes_on(context), self._cancelled)
        errand.start()
        try:
            yield waiting
            yield from errand.events()
        finally:
            self._free.release()

    def _goes_on(self, context: grpc.ServicerContext) -> bool:
        return bool(context.is_active()) and not self._stopping.is_set()


class _Errand(threading.Thread, Generic[Event]):
    """One of them; `events` gives what it says while it runs."""

    def __init__(
        self,
        engine: Engine,
        turns: DeviceTurns,
        work: Work[Event],
        goes_on: Callable[[], bool],
        cancelled: str,
    ) -> None:
        super().__init__(name="mattebox-errand", daemon=True)
        self._engine = engine
        self._turns = turns
        self._work = work
        self._goes_on = goes_on
        self._cancelled = cancelled
        self._said: SimpleQueue[tuple[Event] | BaseException | None] = SimpleQueue()

    def events(self) -> Iterator[Event]:
        """Until the work ends; raises what it raised."""
        while (said := self._said.get()) is not None:
            if isinstance(said, BaseException):
                raise said
            yield said[0]

    def run(self) -> None:
        try:
            with self._turns.turn(self._goes_on) as mine:
                if not mine or not self._goes_on():  # it may have been cancelled as its turn came
                    raise Cancelled(self._cancelled)
                try:
                    found = self._work(self._say)
                finally:
                    self._engine.release()
            for event in found:
                self._said.put((event,))
        except BaseException as error:  # raised again where the call is answered
            self._said.put(error)
        else:
            self._said.put(None)

    def _say(self, event: Event) -> None:
        if not self._goes_on():
            raise Cancelled(self._cancelled)
        self._said.put((event,))
