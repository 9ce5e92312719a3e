"""The queue: edits are sent, watched and cancelled; a job that ends well hands over its take."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from mattebox_media import write_clip
from mattebox_proto.client import Client
from mattebox_proto.errors import (
    BackendError,
    BackendGone,
    BackendNotStarted,
    DeadlineExceeded,
    NotFound,
    Unauthorised,
)
from mattebox_proto.mattebox.v1 import jobs_pb2
from mattebox_proto.paths import folders
from mattebox_proto.watch import ENDED, JobWatch
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Qt, Signal, Slot

from mattebox_desktop.model.edit_request import EditRequest
from mattebox_desktop.service.backend import BackendConnection
from mattebox_desktop.service.job_view import (
    BackendStatus,
    ConnectionState,
    JobState,
    JobView,
    TakeView,
)
from mattebox_desktop.service.wire import edit_message, take_view, with_event, with_job
from mattebox_desktop.service.worker import CLOSING_SECONDS

PATIENCE = 120.0
"""Seconds for which a watcher looks for a backend that went away."""
_AWAY = (BackendGone, BackendNotStarted, Unauthorised)
_WITHOUT_TAKE = (JobState.FAILED, JobState.CANCELLED)


class Renders(QObject):
    """Every job of this desktop, in the order of asking.

    Signals: `job_changed(JobView)`; `take_ready(JobView, TakeView, Path)`, the path being of a lossless video
    on this machine; `failed(JobView)`; `came_to_nothing(JobView)` when the backend says that a job ended
    without a take.
    """

    job_changed = Signal(object)
    take_ready = Signal(object, object, object)
    failed = Signal(object)
    came_to_nothing = Signal(object)
    _happened = Signal(str, object)

    def __init__(self, backend: BackendConnection, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._backend = backend
        self._jobs: dict[str, JobView] = {}
        self._watches: dict[str, _Watcher] = {}
        self._cancelled: set[str] = set()
        self._closed = False
        self._happened.connect(self._take_event, Qt.ConnectionType.QueuedConnection)
        backend.changed.connect(self._backend_changed)

    @property
    def jobs(self) -> list[JobView]:
        return list(self._jobs.values())

    @property
    def active(self) -> list[JobView]:
        """Jobs that have not ended."""
        return [job for job in self._jobs.values() if not job.state.ended]

    def submit(self, request: EditRequest) -> JobView:
        """Sends the edit; what becomes of it is told by the signals."""
        view = JobView(uuid.uuid4().hex, request.title, JobState.SENDING)
        self._put(view)

        def send(client: Client) -> jobs_pb2.Job:
            clip = client.open_clip(request.clip)
            return client.submit(edit_message(request, clip.id), request.title)

        self._backend.call(
            send, lambda job: self._submitted(view.key, job), lambda error: self._fail(view.key, error)
        )
        return view

    def adopt(self, clip: str, awaited: Sequence[str], wanted: Callable[[str], bool]) -> None:
        """Looks after jobs that nobody watches: the `awaited` ones, ended or not, and the unfinished ones of
        a clip (content hash) that an earlier desktop left with the backend.

        wanted: called with each one's id before it is watched; False leaves it alone.
        """

        def adopt_all(jobs: list[jobs_pb2.Job]) -> None:
            views = {view.id: view for view in self._jobs.values()}
            for job in jobs:
                view = views.get(job.id)
                foreign = view is not None and job.id not in awaited
                watched = view is not None and (view.key in self._watches or not view.state.ended)
                if not foreign and not watched and wanted(job.id):
                    view = view or JobView(uuid.uuid4().hex, job.title or "Render", JobState.QUEUED)
                    self._jobs[view.key] = view
                    self._submitted(view.key, job)

        self._backend.call(lambda client: _left_jobs(client, clip, awaited), adopt_all, lambda _: None)

    def cancel(self, key: str) -> None:
        """Stops a job within one sampler step; one that has ended stays as it is."""
        view = self._jobs.get(key)
        if view is None or view.state.ended:
            return
        self._cancelled.add(key)
        if not view.id:
            return  # it is cancelled as soon as the backend has named it
        self._backend.call(
            lambda client: client.cancel(view.id),
            lambda job: self._update(key, job),
            lambda error: self._not_cancelled(key, error),
        )

    def forget_ended(self) -> None:
        """Takes the rows of ended jobs away, but for those whose take is on its way."""
        kept = {key: view for key, view in self._jobs.items() if key in self._watches or not view.state.ended}
        self._jobs = kept

    def log(self, key: str, done: Callable[[str], object]) -> None:
        """Fetches a job's log for a report; an empty one where there is none."""
        view = self._jobs.get(key)
        if view is None or not view.id:
            done("")
            return
        self._backend.call(
            lambda client: b"".join(client.log(view.id)).decode("utf-8", "replace"), done, lambda _: done("")
        )

    def stop(self) -> None:
        """Stops watching, without waiting for it; the jobs themselves go on in the backend."""
        self._closed = True
        for watcher in self._watches.values():
            watcher.stop()

    def close(self) -> None:
        """Stops watching and ends the threads."""
        self.stop()
        for watcher in self._watches.values():
            watcher.join()
        self._watches.clear()

    # -- inside ----------------------------------------------------------------------------------------------

    def _put(self, view: JobView) -> None:
        self._jobs[view.key] = view
        self.job_changed.emit(view)

    def _update(self, key: str, job: jobs_pb2.Job) -> None:
        view = self._jobs.get(key)
        if view is not None:
            self._put(with_job(view, job))

    def _submitted(self, key: str, job: jobs_pb2.Job) -> None:
        view = with_job(self._jobs[key], job)
        self._put(view)
        if view.state in _WITHOUT_TAKE:
            self._end_without_take(view)
            return
        client = self._backend.client
        if client is None:
            self._fail(
                key, BackendGone("The backend went away after it took the job; it goes on at its next start.")
            )
            return
        watcher = _Watcher(client, job, lambda what: self._tell(key, what))
        self._watches[key] = watcher
        watcher.start()
        if key in self._cancelled:
            self.cancel(key)

    def _tell(self, key: str, what: object) -> None:
        if not self._closed:
            self._happened.emit(key, what)

    @Slot(str, object)
    def _take_event(self, key: str, what: object) -> None:
        view = self._jobs.get(key)
        if self._closed or view is None:
            return
        if isinstance(what, jobs_pb2.JobEvent):
            view = with_event(view, what)
            self._put(view)
            if view.state in _WITHOUT_TAKE:
                self._end_without_take(view)
        elif isinstance(what, tuple):
            take, path = what
            self.take_ready.emit(view, take, path)
        elif isinstance(what, Exception):
            self._fail(key, what)
        if view.state.ended and what is None:
            self._end(key)

    def _end_without_take(self, view: JobView) -> None:
        if view.state is JobState.FAILED:
            self.failed.emit(view)
        self.came_to_nothing.emit(view)

    def _not_cancelled(self, key: str, error: Exception) -> None:
        """Asks again, now or once the backend is back: the job would run on."""
        if isinstance(error, DeadlineExceeded):
            self.cancel(key)
        elif not isinstance(error, _AWAY):
            self._fail(key, error)

    def _backend_changed(self, status: BackendStatus) -> None:
        if status.state is ConnectionState.READY:
            for key in list(self._cancelled):
                self.cancel(key)

    def _end(self, key: str) -> None:
        watcher = self._watches.pop(key, None)
        if watcher is not None:
            watcher.join()

    def _fail(self, key: str, error: Exception) -> None:
        view = self._jobs.get(key)
        if view is None or self._closed:
            return
        if not isinstance(error, (BackendError, OSError, ValueError)):
            raise error
        kind = error.kind if isinstance(error, BackendError) else "internal"
        view = replace(view, state=JobState.FAILED, error=str(error), error_kind=kind)
        self._put(view)
        self.failed.emit(view)


class _Watcher:
    """Follows one job in a thread of its own, then fetches its take."""

    def __init__(self, client: Client, job: jobs_pb2.Job, tell: Callable[[object], None]) -> None:
        self._client = client
        self._watch: JobWatch = client.watch(job.id, previews=True, patience=PATIENCE)
        self._tell = tell
        self._thread = threading.Thread(target=self._run, name=f"watching job {job.id}", daemon=True)
        self._job = job

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._watch.stop()

    def join(self) -> None:
        self._thread.join(CLOSING_SECONDS)

    def _run(self) -> None:
        try:
            if self._job.state not in ENDED:
                for event in self._watch:
                    self._tell(event)
            job = self._client.job(self._job.id)
            if job.state == jobs_pb2.JOB_STATE_DONE and job.take:
                take = take_view(self._client.take(job.take))
                self._tell((take, fetched(self._client, take)))
        except (BackendError, OSError, ValueError) as error:
            self._tell(error)
        finally:
            self._tell(None)


def fetched(client: Client, take: TakeView) -> Path:
    """Where the take's lossless video lies on this machine; it is read from the backend when it is not here.

    Raises:
        BackendError, OSError: it cannot be read or kept.
    """
    path = Path(take.path)
    if path.is_file():
        return path
    copy = folders().data / "fetched-takes" / f"{take.id}.mkv"
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        rate = client.take(take.id).frame_rate
        write_clip(copy, _frames(client, take.id), fps=Fraction(rate.numerator, max(1, rate.denominator)))
    return copy


def _frames(client: Client, take: str) -> Iterator[NDArray[Any]]:
    for _, frame in client.read_take(take):
        yield frame


def _left_jobs(client: Client, clip: str, awaited: Sequence[str]) -> list[jobs_pb2.Job]:
    """The unfinished jobs of a clip, and the awaited ones that the backend still knows."""
    unfinished = client.jobs((jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_RUNNING))
    found = {job.id: job for job in unfinished if job.clip == clip}
    for job in awaited:
        with suppress(NotFound):
            found[job] = client.job(job)
    return list(found.values())
