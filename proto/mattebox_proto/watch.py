"""Watching a job: its events, in order and each once, across lost connections and restarted backends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Protocol

import grpc

from mattebox_proto.channel import Address, Stream
from mattebox_proto.errors import BackendError, BackendGone, DeadlineExceeded, Unauthorised, from_rpc
from mattebox_proto.mattebox.v1 import jobs_pb2

ENDED = frozenset({jobs_pb2.JOB_STATE_DONE, jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_CANCELLED})
"""The states that a job never leaves."""

# A backend that came back has another token; one that is going down refuses in these ways.
_PASSING = (BackendGone, DeadlineExceeded, Unauthorised)


class _Backend(Protocol):
    address: Address

    def watch_once(self, request: jobs_pb2.WatchRequest) -> Stream[jobs_pb2.JobEvent]: ...
    def job(self, job: str) -> jobs_pb2.Job: ...
    def reconnect(self) -> None: ...


class JobWatch:
    """Iterates over a job's events, old ones first, until the job ends or another thread calls `stop`.

    last: the sequence number of the last event seen. patience: seconds for which a lost backend is sought;
    then BackendGone (or what else stands in the way) is raised.
    """

    def __init__(self, backend: _Backend, job: str, *, after: int, previews: bool, patience: float) -> None:
        self.last = after
        self._backend = backend
        self._job = job
        self._previews = previews
        self._patience = patience
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._call: Stream[jobs_pb2.JobEvent] | None = None

    def stop(self) -> None:
        """Ends the iteration; the job itself goes on."""
        self._stopped.set()
        with self._lock:
            if self._call is not None:
                self._call.cancel()

    def __iter__(self) -> Iterator[jobs_pb2.JobEvent]:
        lost: float | None = None
        pause = 0.1
        while not self._stopped.is_set():
            try:
                for event in self._listen():
                    lost, pause = None, 0.1
                    yield event
                    if event.WhichOneof("event") == "state" and event.state in ENDED:
                        return
                if self._stopped.is_set() or self._backend.job(self._job).state in ENDED:
                    return
                failure: BackendError = BackendGone(
                    f"The backend at {self._backend.address.text} ended while the job was running; "
                    "start it again with `mattebox serve` and the job goes on."
                )
            except _PASSING as error:
                failure = error
            now = time.monotonic()
            lost = now if lost is None else lost
            if now - lost > self._patience:
                raise failure
            self._stopped.wait(pause)
            pause = min(pause * 2, 2.0)
            self._look_again()

    def _listen(self) -> Iterator[jobs_pb2.JobEvent]:
        request = jobs_pb2.WatchRequest(job=self._job, after=self.last, previews=self._previews)
        with self._lock:
            if self._stopped.is_set():
                return
            call = self._call = self._backend.watch_once(request)
        try:
            for event in call:
                if event.WhichOneof("event") != "preview":  # a preview carries its progress event's number
                    if event.sequence <= self.last:
                        continue
                    self.last = event.sequence
                yield event
        except grpc.RpcError as error:
            if self._stopped.is_set():
                return
            raise from_rpc(error, address=self._backend.address.text, doing="watching a job") from error
        finally:
            call.cancel()

    def _look_again(self) -> None:
        if self._stopped.is_set():
            return
        try:
            self._backend.reconnect()
        except _PASSING:
            return  # still away: the next round tries again, until patience ends
