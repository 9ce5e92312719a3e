"""The Jobs service: the queue and the takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
from mattebox_media.reader import open_clip
from mattebox_proto.codecs.frames import chunks
from mattebox_proto.limits import CHUNK_BYTES
from mattebox_proto.mattebox.v1 import edit_pb2, jobs_pb2, jobs_pb2_grpc, media_pb2

from mattebox_backend.errors import InvalidEdit, NotFound, TooLarge
from mattebox_backend.jobs.clips import Clips
from mattebox_backend.jobs.engine import Engine
from mattebox_backend.jobs.queue import JobQueue
from mattebox_backend.jobs.takes import Take, TakeShelf
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.server.wire import (
    edit_of,
    event_message,
    inspection_messages,
    job_message,
    pack_edit,
    plan_message,
    states_of,
    take_message,
)
from mattebox_backend.settings import Storage

_TITLE_LENGTH = 120
_LIST_LIMIT = 100
MOST_WATCHERS = 48
"""Each holds a thread of the server's; the rest of them answer the other calls."""


class JobsServicer(jobs_pb2_grpc.JobsServicer):
    """mask_limit: bytes of one edit's masks, unpacked. stopping: set when the backend is about to end."""

    def __init__(
        self,
        queue: JobQueue,
        *,
        engine: Engine,
        models: ModelRegistry,
        clips: Clips,
        takes: TakeShelf,
        storage: Storage,
        mask_limit: int,
        stopping: threading.Event,
    ) -> None:
        self._queue = queue
        self._engine = engine
        self._models = models
        self._clips = clips
        self._takes = takes
        self._storage = storage
        self._mask_limit = mask_limit
        self._stopping = stopping
        self._watchers = threading.BoundedSemaphore(MOST_WATCHERS)

    def Submit(self, request: jobs_pb2.SubmitRequest, context: grpc.ServicerContext) -> jobs_pb2.Job:
        clip = self._clips.find(request.edit.clip)
        edit = edit_of(request.edit, clip, mask_limit=self._mask_limit)
        self._engine.validate(edit, clip.info)
        self._models.resolve(edit.backbone)
        job = self._queue.submit(title=_title(request), clip=clip.id, edit=pack_edit(request.edit))
        return job_message(job)

    def Plan(self, request: jobs_pb2.PlanRequest, context: grpc.ServicerContext) -> jobs_pb2.MemoryPlan:
        clip = self._clips.find(request.edit.clip)
        edit = edit_of(request.edit, clip, mask_limit=self._mask_limit)
        return plan_message(self._engine.forecast(edit, clip.info, request.card_memory))

    def Get(self, request: jobs_pb2.GetJobRequest, context: grpc.ServicerContext) -> jobs_pb2.Job:
        return job_message(self._queue.store.get(request.job))

    def List(
        self, request: jobs_pb2.ListJobsRequest, context: grpc.ServicerContext
    ) -> jobs_pb2.ListJobsResponse:
        jobs = self._queue.store.jobs(states_of(list(request.states)), request.limit or _LIST_LIMIT)
        return jobs_pb2.ListJobsResponse(jobs=[job_message(job) for job in jobs])

    def Watch(
        self, request: jobs_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[jobs_pb2.JobEvent]:
        if not self._watchers.acquire(blocking=False):
            raise TooLarge(
                f"{MOST_WATCHERS} watchers are connected already; close some, or ask for jobs by Get."
            )
        try:
            for event in self._queue.watch(
                request.job,
                after=request.after,
                previews=request.previews,
                alive=lambda: context.is_active() and not self._stopping.is_set(),
            ):
                yield event_message(event)
        finally:
            self._watchers.release()

    def Cancel(self, request: jobs_pb2.CancelRequest, context: grpc.ServicerContext) -> jobs_pb2.Job:
        return job_message(self._queue.cancel(request.job))

    def GetLog(
        self, request: jobs_pb2.GetLogRequest, context: grpc.ServicerContext
    ) -> Iterator[jobs_pb2.LogChunk]:
        job = self._queue.store.get(request.job)
        try:
            file = self._storage.job_log(job.id).open("rb")
        except FileNotFoundError:  # it has not begun
            return
        with file:
            while data := file.read(CHUNK_BYTES):
                yield jobs_pb2.LogChunk(data=data)

    def GetTake(self, request: jobs_pb2.GetTakeRequest, context: grpc.ServicerContext) -> jobs_pb2.Take:
        return self._message(self._takes.get(request.take))

    def ListTakes(
        self, request: jobs_pb2.ListTakesRequest, context: grpc.ServicerContext
    ) -> jobs_pb2.ListTakesResponse:
        takes = [take for take in self._takes.takes() if request.clip in ("", take.clip)]
        return jobs_pb2.ListTakesResponse(takes=[self._message(take) for take in takes])

    def DeleteTake(
        self, request: jobs_pb2.DeleteTakeRequest, context: grpc.ServicerContext
    ) -> jobs_pb2.DeleteTakeResponse:
        self._takes.delete(request.take)
        return jobs_pb2.DeleteTakeResponse()

    def ReadTake(
        self, request: jobs_pb2.ReadTakeRequest, context: grpc.ServicerContext
    ) -> Iterator[media_pb2.FrameChunk]:
        take = self._takes.get(request.take)
        start, stop = (request.start, request.stop) if request.stop else (take.start, take.stop)
        if not take.start <= start < stop <= take.stop:
            raise InvalidEdit(
                f"The range [{start}, {stop}) is not within the take, which holds [{take.start}, "
                f"{take.stop})."
            )
        with open_clip(self._takes.video(take.id)) as reader:
            frames = reader.frames(start - take.start, stop - take.start)
            for chunk in chunks(enumerate(frames, start=start)):
                if not context.is_active():
                    return
                yield chunk

    def Inspect(
        self, request: jobs_pb2.InspectRequest, context: grpc.ServicerContext
    ) -> Iterator[jobs_pb2.InspectionMap]:
        folder = self._takes.inspection(request.take)
        if not folder.is_dir():
            raise NotFound(
                f"Nothing was kept of how the take “{request.take}” was made; render its edit again with "
                "inspect = true."
            )
        for message in inspection_messages(folder):
            if not context.is_active():
                return
            yield message

    def _message(self, take: Take) -> jobs_pb2.Take:
        try:
            report = self._takes.report(take.id)
        except NotFound:  # the frames are what counts
            report = ""
        return take_message(take, path=str(self._takes.video(take.id)), report=report)


def _title(request: jobs_pb2.SubmitRequest) -> str:
    edit: edit_pb2.Edit = request.edit
    title = request.title.strip() or edit.prompt.strip() or edit.method
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1] + "…"
