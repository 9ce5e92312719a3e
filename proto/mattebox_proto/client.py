"""The client of a backend: every call of the contract as a typed method with a deadline and typed errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc

from mattebox_proto.cancellable import CancellableCall
from mattebox_proto.channel import Address, Reach, Stream, open_channel
from mattebox_proto.codecs.frames import Frame, assemble
from mattebox_proto.errors import (
    BackendFailed,
    Cancelled,
    InvalidMessage,
    InvalidRequest,
    NotFound,
    VersionMismatch,
    from_rpc,
)
from mattebox_proto.limits import CHUNK_BYTES
from mattebox_proto.mattebox.v1 import (
    captions_pb2,
    captions_pb2_grpc,
    clips_pb2,
    clips_pb2_grpc,
    edit_pb2,
    jobs_pb2,
    jobs_pb2_grpc,
    masks_pb2,
    masks_pb2_grpc,
    media_pb2,
    system_pb2,
    system_pb2_grpc,
)
from mattebox_proto.version import CONTRACT, mismatch, version
from mattebox_proto.watch import JobWatch

# Deadlines in seconds. A large file is hashed while it is opened; an edit carries its masks.
_QUICK = 15.0
_OPEN = 300.0
_SUBMIT = 120.0
_STREAM = 3600.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to reach a backend: address, token, and the certificates to trust (PEM) beyond this machine."""

    address: str
    token: str = ""
    tls_roots: bytes | None = None


class Client:
    """A connection to one backend. Safe to use from several threads.

    Every method raises a subclass of `mattebox_proto.errors.BackendError`, whose text is fit for the user.
    renew: gives the endpoint anew after the backend went away (a restarted one has another token).
    """

    def __init__(self, endpoint: Endpoint, *, renew: Callable[[], Endpoint] | None = None) -> None:
        self._renew = renew
        self._lock = threading.Lock()
        self._closed = False
        self._open(endpoint)

    def _open(self, endpoint: Endpoint) -> None:
        self.address = Address.parse(endpoint.address)
        self._endpoint = endpoint
        self._channel = open_channel(self.address, endpoint.token, tls_roots=endpoint.tls_roots)
        self._system = system_pb2_grpc.SystemStub(self._channel)
        self._clips = clips_pb2_grpc.ClipsStub(self._channel)
        self._masks = masks_pb2_grpc.MasksStub(self._channel)
        self._captions = captions_pb2_grpc.CaptionsStub(self._channel)
        self._jobs = jobs_pb2_grpc.JobsStub(self._channel)

    @classmethod
    def connect(cls, endpoint: Endpoint, *, renew: Callable[[], Endpoint] | None = None) -> Self:
        """Opens the channel and shakes hands; raises VersionMismatch, in words, when the two do not match."""
        client = cls(endpoint, renew=renew)
        try:
            client.handshake()
        except BaseException:
            client.close()
            raise
        return client

    def reconnect(self) -> None:
        """Opens the channel anew, to where the backend is now.

        What other threads have under way on the old channel goes on; it closes with the last of their calls.
        Raises Cancelled after `close`.
        """
        endpoint = self._renew() if self._renew is not None else self._endpoint
        with self._lock:
            if self._closed:
                raise self._was_closed("looking for it again")
            self._open(endpoint)

    def close(self) -> None:
        """Ends what other threads have under way; their calls, and all later ones, raise Cancelled."""
        with self._lock:
            self._closed = True
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # System

    def handshake(self) -> system_pb2.HandshakeResponse:
        request = system_pb2.HandshakeRequest(client_version=version(), contract=CONTRACT)
        with self._errors("shaking hands", _QUICK):
            answer = self._system.Handshake(request, timeout=_QUICK)
        words = mismatch(version(), CONTRACT, answer.backend_version, answer.contract)
        if words or not answer.compatible:
            raise VersionMismatch(
                answer.message or words or "The backend does not accept this client's version."
            )
        return answer

    def info(self) -> system_pb2.Info:
        # The first time, the backend has to find its device: seconds, and many on a busy machine.
        with self._errors("asking about the device", _SUBMIT):
            return self._system.GetInfo(system_pb2.GetInfoRequest(), timeout=_SUBMIT)

    def cache(self) -> system_pb2.CacheUsage:
        with self._errors("measuring the cache", _QUICK):
            return self._system.GetCache(system_pb2.GetCacheRequest(), timeout=_QUICK)

    def clear_cache(self, kinds: Sequence[str] = ()) -> system_pb2.CacheUsage:
        """Clears those kinds (none named: all), and returns what is left."""
        with self._errors("clearing the cache", _SUBMIT):
            return self._system.ClearCache(system_pb2.ClearCacheRequest(kinds=kinds), timeout=_SUBMIT)

    def models(self) -> Sequence[system_pb2.Model]:
        return self.list_models().models

    def list_models(self) -> system_pb2.ListModelsResponse:
        """The models for edits, and the captioners."""
        with self._errors("listing models", _QUICK):
            return self._system.ListModels(system_pb2.ListModelsRequest(), timeout=_QUICK)

    def methods(self) -> Sequence[system_pb2.Method]:
        with self._errors("listing methods", _QUICK):
            return self._system.ListMethods(system_pb2.ListMethodsRequest(), timeout=_QUICK).methods

    def shutdown(self) -> None:
        """Ends the backend once the running step is saved; its unfinished jobs go on at its next start."""
        with self._errors("stopping the backend", _QUICK):
            self._system.Shutdown(system_pb2.ShutdownRequest(), timeout=_QUICK)

    # Clips

    def open_clip(
        self, path: str | Path, *, sent: Callable[[int, int], None] | None = None
    ) -> clips_pb2.Clip:
        """Opens a video file or an image sequence (``frames/%04d.png``).

        A backend that does not share this disk is sent the file; sent: called with (bytes so far, in all).
        """
        path = Path(path).absolute()
        if self.address.reach is Reach.REMOTE:
            return self._upload(path, sent)
        try:
            with self._errors(f"opening {path.name}", _OPEN):
                return self._clips.Open(clips_pb2.OpenClipRequest(path=str(path)), timeout=_OPEN)
        except NotFound:
            # A forwarded port looks like loopback: the file is here, and the backend does not see it.
            if self.address.reach is Reach.UNIX or not path.is_file():
                raise
            return self._upload(path, sent)

    def _upload(self, path: Path, sent: Callable[[int, int], None] | None) -> clips_pb2.Clip:
        if "%" in path.name and not path.exists():
            raise InvalidRequest(
                f"The image sequence {path} cannot be sent to the backend at {self.address.text}, which "
                "does not share this disk; make one video file of it first."
            )
        try:
            size = path.stat().st_size
            file = path.open("rb")
        except OSError as error:
            raise NotFound(f"The clip {path} cannot be read: {error.strerror}.") from error

        def messages() -> Iterator[clips_pb2.UploadClipRequest]:
            yield clips_pb2.UploadClipRequest(name=path.name, size=size)
            done = 0
            while data := file.read(CHUNK_BYTES):
                yield clips_pb2.UploadClipRequest(data=data)
                done += len(data)
                if sent is not None:
                    sent(done, size)

        with file, self._errors(f"sending {path.name}", _STREAM):
            return self._clips.Upload(messages(), timeout=_STREAM)

    def read_clip(self, clip: str, start: int, stop: int) -> Iterator[tuple[int, Frame]]:
        """Yields (index, frame) for frames [start, stop) of an opened clip."""
        request = clips_pb2.ReadFramesRequest(clip=clip, start=start, stop=stop)
        return self._frames(lambda: self._clips.ReadFrames(request, timeout=_STREAM), "reading frames")

    # Masks

    def propose_regions(self, request: masks_pb2.ProposeRequest) -> Iterator[masks_pb2.ProposeEvent]:
        """Yields progress, then the proposals, the largest first. Closing the iterator stops the search."""
        with self._errors("looking for regions", _STREAM):
            stream = self._masks.Propose(request, timeout=_STREAM)
            try:
                yield from stream
            finally:
                stream.cancel()

    # Captions

    def describe(self, request: captions_pb2.DescribeRequest) -> CancellableCall[captions_pb2.DescribeEvent]:
        """Iterate over it for how far it is, and then the caption; `cancel` ends it from any thread."""
        return CancellableCall(
            lambda: self._captions.Describe(request, timeout=_STREAM),
            lambda: self._errors("describing a picture", _STREAM),
        )

    # Jobs

    def submit(self, edit: edit_pb2.Edit, title: str = "") -> jobs_pb2.Job:
        with self._errors("submitting the edit", _SUBMIT):
            return self._jobs.Submit(jobs_pb2.SubmitRequest(edit=edit, title=title), timeout=_SUBMIT)

    def plan(self, edit: edit_pb2.Edit, card_memory: int = 0) -> jobs_pb2.MemoryPlan:
        """What an edit would take of memory; card_memory: bytes of a card, 0: the backend's device."""
        request = jobs_pb2.PlanRequest(edit=edit, card_memory=card_memory)
        with self._errors("planning the edit", _SUBMIT):
            return self._jobs.Plan(request, timeout=_SUBMIT)

    def job(self, job: str) -> jobs_pb2.Job:
        with self._errors("asking about a job", _QUICK):
            return self._jobs.Get(jobs_pb2.GetJobRequest(job=job), timeout=_QUICK)

    def jobs(
        self, states: Sequence[jobs_pb2.JobState.ValueType] = (), limit: int = 0
    ) -> Sequence[jobs_pb2.Job]:
        """The newest first; limit 0: up to 100."""
        request = jobs_pb2.ListJobsRequest(states=states, limit=limit)
        with self._errors("listing jobs", _QUICK):
            return self._jobs.List(request, timeout=_QUICK).jobs

    def watch(self, job: str, *, after: int = 0, previews: bool = False, patience: float = 30.0) -> JobWatch:
        """Iterate over it for the job's events; it reconnects by itself. See `JobWatch`."""
        return JobWatch(self, job, after=after, previews=previews, patience=patience)

    def watch_once(self, request: jobs_pb2.WatchRequest) -> Stream[jobs_pb2.JobEvent]:
        """One bare Watch call, without reconnecting; raises grpc.RpcError as it is read."""
        with self._errors("watching a job", _STREAM):
            return self._jobs.Watch(request, timeout=_STREAM)

    def cancel(self, job: str) -> jobs_pb2.Job:
        with self._errors("cancelling a job", _QUICK):
            return self._jobs.Cancel(jobs_pb2.CancelRequest(job=job), timeout=_QUICK)

    def log(self, job: str) -> Iterator[bytes]:
        with self._errors("reading a job's log", _STREAM):
            for chunk in self._jobs.GetLog(jobs_pb2.GetLogRequest(job=job), timeout=_STREAM):
                yield chunk.data

    # Takes

    def take(self, take: str) -> jobs_pb2.Take:
        with self._errors("asking about a take", _QUICK):
            return self._jobs.GetTake(jobs_pb2.GetTakeRequest(take=take), timeout=_QUICK)

    def takes(self, clip: str = "") -> Sequence[jobs_pb2.Take]:
        """The takes of one clip, or of all."""
        with self._errors("listing takes", _QUICK):
            return self._jobs.ListTakes(jobs_pb2.ListTakesRequest(clip=clip), timeout=_QUICK).takes

    def delete_take(self, take: str) -> None:
        with self._errors("deleting a take", _QUICK):
            self._jobs.DeleteTake(jobs_pb2.DeleteTakeRequest(take=take), timeout=_QUICK)

    def read_take(self, take: str, start: int = 0, stop: int = 0) -> Iterator[tuple[int, Frame]]:
        """Yields (index in the clip, frame) for frames [start, stop) of the clip; 0, 0: the whole take."""
        request = jobs_pb2.ReadTakeRequest(take=take, start=start, stop=stop)
        return self._frames(lambda: self._jobs.ReadTake(request, timeout=_STREAM), "reading a take")

    def inspect(self, take: str) -> Iterator[jobs_pb2.InspectionMap]:
        """Yields what attention and controls did while a take was made, map by map."""
        with self._errors("inspecting a take", _STREAM):
            stream = self._jobs.Inspect(jobs_pb2.InspectRequest(take=take), timeout=_STREAM)
            try:
                yield from stream
            finally:
                stream.cancel()

    def _frames(
        self, call: Callable[[], Stream[media_pb2.FrameChunk]], doing: str
    ) -> Iterator[tuple[int, Frame]]:
        with self._errors(doing, _STREAM):
            stream = call()
            try:
                yield from assemble(stream)
            finally:
                stream.cancel()

    @contextmanager
    def _errors(self, doing: str, deadline: float) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            if self._closed:
                raise self._was_closed(doing) from error
            raise from_rpc(error, address=self.address.text, doing=doing, deadline=deadline) from error
        except InvalidMessage as error:
            raise BackendFailed(
                f"The backend at {self.address.text} sent nonsense while {doing}: {error}."
            ) from error
        except ValueError as error:  # how gRPC refuses a call on a closed channel
            if not self._closed:
                raise
            raise self._was_closed(doing) from error

    def _was_closed(self, doing: str) -> Cancelled:
        return Cancelled(f"The connection to the backend at {self.address.text} was closed while {doing}.")
