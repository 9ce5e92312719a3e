"""One background thread whose results come back as calls in the thread that owns the worker."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from PySide6.QtCore import QObject, Qt, Signal, Slot

T = TypeVar("T")

CLOSING_SECONDS = 5.0
"""How long closing waits for one thread. Each is a daemon: it ends with the process at the latest."""


class Worker(QObject):
    """Runs pieces of work one after the other.

    `done` and `failed` of each are called in the thread in which the worker was made (the one with the event
    loop).
    """

    _ended = Signal(object)

    def __init__(self, name: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._queue: queue.SimpleQueue[Callable[[], Callable[[], None]] | None] = queue.SimpleQueue()
        self._closed = False
        self._ended.connect(self._deliver, Qt.ConnectionType.QueuedConnection)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Callable[[], T],
        done: Callable[[T], object],
        failed: Callable[[Exception], object],
    ) -> None:
        """Queues `work`; work queued after `close` is dropped."""
        if self._closed:
            return

        def run() -> Callable[[], None]:
            try:
                result = work()
            except Exception as error:  # every failure of the work belongs to whoever asked for it
                caught = error
                return lambda: _call(failed, caught)
            return lambda: _call(done, result)

        self._queue.put(run)

    def post(self, call: Callable[[], object]) -> None:
        """Calls back in the owning thread: for work that reports while it runs."""
        self._ended.emit(lambda: _call(lambda _: call(), None))

    def stop(self) -> None:
        """What is queued is dropped and nothing is called back any more; the work in hand goes on."""
        self._closed = True
        self._queue.put(None)

    def close(self) -> None:
        """Ends the thread, after the work in hand where that ends soon."""
        self.stop()
        self._thread.join(CLOSING_SECONDS)

    @property
    def closed(self) -> bool:
        return self._closed

    def check(self) -> None:
        """For long work to call now and then. Raises InterruptedError once the worker is closed."""
        if self._closed:
            raise InterruptedError("The work was given up because the desktop is closing.")

    def _run(self) -> None:
        while (piece := self._queue.get()) is not None:
            if self._closed:
                continue
            answer = piece()
            if not self._closed:
                self._ended.emit(answer)

    @Slot(object)
    def _deliver(self, answer: Callable[[], None]) -> None:
        if not self._closed:
            answer()


def _call(slot: Callable[[Any], object], value: Any) -> None:
    slot(value)
