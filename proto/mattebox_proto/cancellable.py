"""A streaming call that another thread may end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

import grpc

from mattebox_proto.channel import Stream

Message = TypeVar("Message")


class CancellableCall(Generic[Message]):
    """Iterates over what a call answers, until it ends or another thread calls `cancel`.

    call: begins it. errors: within it, what gRPC raises becomes a `mattebox_proto.errors.BackendError`.
    """

    def __init__(
        self, call: Callable[[], Stream[Message]], errors: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._begin = call
        self._errors = errors
        self._lock = threading.Lock()
        self._call: Stream[Message] | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Ends the iteration, and the work in the backend; does nothing once it has ended."""
        with self._lock:
            self._cancelled = True
            if self._call is not None:
                self._call.cancel()

    def __iter__(self) -> Iterator[Message]:
        with self._errors():
            with self._lock:
                if self._cancelled:
                    return
                call = self._call = self._begin()
            try:
                yield from call
            except grpc.RpcError:
                if not self._cancelled:
                    raise
            finally:
                call.cancel()
