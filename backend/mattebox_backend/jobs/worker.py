"""One thread per device: takes the oldest job, renders it, stores the take, and outlives whatever it does."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mattebox_media.clip import Frame
from mattebox_media.reader import open_clip

from mattebox_backend.edit import Edit
from mattebox_backend.errors import Cancelled, DiskFull, MatteboxError
from mattebox_backend.faults import explain
from mattebox_backend.jobs.caches import Caches
from mattebox_backend.jobs.clips import Clips, OpenedClip
from mattebox_backend.jobs.engine import Engine
from mattebox_backend.jobs.estimate import Estimate
from mattebox_backend.jobs.monitor import Interrupted, JobLog, JobMonitor
from mattebox_backend.jobs.queue import JobQueue
from mattebox_backend.jobs.takes import Draft, Take, TakeShelf
from mattebox_backend.jobs.turns import DeviceTurns
from mattebox_backend.jobs.values import Job
from mattebox_backend.settings import Storage

_log = logging.getLogger(__name__)

StoredEdit = tuple[Edit, Mapping[str, Any]]
ReadEdit = Callable[[bytes, OpenedClip], StoredEdit]
"""A stored edit and its clip → the edit, and its message without pixels as JSON."""


class Worker(threading.Thread):
    """Runs until `stop`; a job that runs then goes back into the queue and keeps its checkpoint."""

    def __init__(
        self,
        queue: JobQueue,
        engine: Engine,
        *,
        storage: Storage,
        clips: Clips,
        takes: TakeShelf,
        caches: Caches,
        turns: DeviceTurns,
        read_edit: ReadEdit,
    ) -> None:
        super().__init__(name="mattebox-worker", daemon=True)
        self._queue = queue
        self._store = queue.store
        self._engine = engine
        self._storage = storage
        self._clips = clips
        self._takes = takes
        self._caches = caches
        self._turns = turns
        self._read_edit = read_edit
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Asks for the end, within one step of what runs; `join` waits for it."""
        self._stopping.set()
        self._queue.changes.announce()

    def run(self) -> None:
        self._prepare()
        while not self._stopping.is_set():
            try:
                self._turn()
            except DiskFull as error:
                _log.warning("%s", error)
                self._stopping.wait(_PATIENCE)
            except Exception:  # a worker that dies leaves every later job waiting for ever
                _log.exception("the queue could not be worked on")
                self._stopping.wait(_PATIENCE)

    def _turn(self) -> None:
        """Works on the oldest job, or waits for one."""
        seen = self._queue.changes.count()
        with self._turns.turn(lambda: not self._stopping.is_set()) as mine:
            job = self._store.take_next() if mine else None
            if job is not None:
                self._work(job)
        if job is None:
            self._queue.changes.wait(seen, 1.0)

    def _prepare(self) -> None:
        """Imports and finds what every job needs, once the clients that wait for this start are in."""
        if not self._store.unfinished_count():
            self._queue.changes.wait(self._queue.changes.count(), _HEAD_START)
        if self._stopping.is_set():
            return
        try:
            self._engine.prepare()
        except MatteboxError as error:  # every job will say so; the server still answers
            _log.error("%s", error)
        except Exception:  # a broken installation: every job will fail with its own traceback
            _log.exception("the renderer could not be prepared")

    def _work(self, job: Job) -> None:
        """Renders one job and records how it ended."""
        log = JobLog(self._storage.job_log(job.id))
        log.write(
            f"job {job.id} “{job.title}”" + (f", picked up again ({job.resumes})" if job.resumes else "")
        )
        ending = self._outcome(job, log)
        try:
            self._engine.release()
        except Exception:  # a device that has failed; the job's own ending is what counts
            _log.exception("the device's memory could not be given back")
        self._queue.previews.forget(job.id)
        if not ending.goes_on:
            # Before the ending is recorded: on a full disk this makes the room for it.
            shutil.rmtree(self._storage.checkpoint(job.id), ignore_errors=True)
        log.write(ending.words)
        self._record(ending)
        self._caches.trim()

    def _outcome(self, job: Job, log: JobLog) -> _Ending:
        try:
            with self._caches.reading_since(time.time()):
                self._render(job, log)
        except Interrupted as stop:
            return _Ending(str(stop), lambda: self._store.requeue(job.id), goes_on=True)
        except Cancelled as stop:
            return _Ending(str(stop), lambda: self._store.cancelled(job.id))
        except Exception as error:  # whatever a job does, the worker lives on
            log.write("".join(traceback.format_exception(error)).rstrip())
            fault = explain(error, doing=f"rendering the job “{job.title}”", log=log.path)
            text, kind = str(fault), fault.kind
            _log.warning("job %s failed: %s", job.id, text)
            return _Ending(f"failed: {text}", lambda: self._store.fail(job.id, text, kind))
        return _Ending("done", lambda: self._store.finish(job.id, take=job.id))

    def _record(self, ending: _Ending) -> None:
        """Writes how the job ended, again and again until it succeeds or the backend ends."""
        while True:
            try:
                ending.record()
            except (DiskFull, sqlite3.OperationalError) as error:
                _log.warning("the end of a job could not be recorded yet: %s", error)
                if self._stopping.wait(_PATIENCE):
                    return
            else:
                return

    def _render(self, job: Job, log: JobLog) -> None:
        if self._takes.has(
            job.id
        ):  # the backend died after the take was stored and before the job's row said so
            return
        stored = self._store.edit(job.id)
        clip = self._clips.find(job.clip)
        edit, message = self._read_edit(stored, clip)
        recipe = f"{edit.method}|{edit.backbone}"
        reached = 0.0 if job.progress is None else job.progress.fraction
        estimate = Estimate(self._store.stage_seconds(recipe), reached=reached)
        monitor = JobMonitor(
            job.id,
            self._store,
            estimate=estimate,
            previews=self._queue.previews,
            log=log,
            stopping=self._stopping,
        )
        self._engine.validate(edit, clip.info)
        self._storage.inversions.mkdir(parents=True, exist_ok=True)
        with self._takes.draft(job.id) as draft:
            report = self._engine.render(
                edit,
                inversions=self._storage.inversions,
                adapters=self._storage.adapters,
                checkpoint=_made(self._storage.checkpoint(job.id)),
                monitor=monitor,
                write=lambda frames: _store_frames(draft, edit, clip, frames),
            )
            _require_all_frames(draft, edit)
            draft.add_inspection(self._storage.checkpoint(job.id) / "inspection")
            draft.commit(_take(job, edit, clip, message), edit, {**report, "take": job.id})
        if report.get("inversion_cached") or job.resumes:
            return  # what was skipped would count as quick
        with contextlib.suppress(DiskFull):  # the take is there; the next estimate is a little worse
            self._store.remember_stage_seconds(recipe, estimate.seconds)


class _Ending:
    """How a job ended. words: for its log. record: writes it down. goes_on: it is to be picked up again."""

    def __init__(self, words: str, record: Callable[[], Job], *, goes_on: bool = False) -> None:
        self.words = words
        self.record = record
        self.goes_on = goes_on


_PATIENCE = 5.0
"""Seconds between two tries to write to a full disk."""

_HEAD_START = 1.5
"""Seconds that a fresh backend keeps for its first clients before it imports torch, a hog."""


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _store_frames(draft: Draft, edit: Edit, clip: OpenedClip, frames: Iterable[Frame]) -> None:
    times = None
    if clip.info.variable_frame_rate:
        with open_clip(clip.path) as reader:
            times = reader.times(edit.start, edit.stop)
        times = [moment - times[0] for moment in times]
    draft.write_frames(frames, fps=clip.info.fps, times=times)


def _require_all_frames(draft: Draft, edit: Edit) -> None:
    if draft.frames_written != edit.frame_count:
        raise RuntimeError(f"the renderer wrote {draft.frames_written} frames of {edit.frame_count}")


def _take(job: Job, edit: Edit, clip: OpenedClip, message: Mapping[str, Any]) -> Take:
    return Take(
        id=job.id,
        job=job.id,
        clip=edit.clip_hash,
        clip_path=str(clip.path),
        start=edit.start,
        stop=edit.stop,
        width=clip.info.width,
        height=clip.info.height,
        fps=clip.info.fps,
        made=time.time(),
        edit=message,
    )
