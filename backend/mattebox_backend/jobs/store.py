"""Jobs and their events in SQLite: a job is a row before it is anything else."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from mattebox_backend.errors import DiskFull, NotFound
from mattebox_backend.jobs.schema import open_database
from mattebox_backend.jobs.values import Event, Figure, Job, JobState, LogLine, Progress, StateChange

_DISK_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE})
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


class JobStore:
    """All reads and writes of one job database, from any thread.

    Every method that changes something does so in one transaction, event included, and then calls
    `on_change`.
    """

    def __init__(self, path: Path, on_change: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._connection = open_database(path)
        self._lock = threading.RLock()
        self._on_change = on_change

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def add(self, job: Job, edit: bytes) -> Job:
        """Queues a job with its edit (a serialised message); on the disk when this returns."""
        with self._writing(durable=True) as database:
            database.execute(
                "INSERT INTO jobs (id, state, title, clip, submitted) VALUES (?, ?, ?, ?, ?)",
                (job.id, job.state, job.title, job.clip, job.submitted),
            )
            database.execute("INSERT INTO edits (job, data) VALUES (?, ?)", (job.id, edit))
            return self._say_state(database, job.id)

    def get(self, job: str) -> Job:
        """Raises NotFound."""
        with self._reading() as database:
            return self._get(database, job)

    def edit(self, job: str) -> bytes:
        """The serialised edit of a job. Raises NotFound."""
        with self._reading() as database:
            row = database.execute("SELECT data FROM edits WHERE job = ?", (job,)).fetchone()
        if row is None:
            raise NotFound(f"There is no job “{job}”; list the jobs to see which there are.")
        return bytes(row["data"])

    def jobs(self, states: Sequence[JobState] = (), limit: int = 100) -> list[Job]:
        """Newest first; of every state when none is named."""
        wanted = tuple(states) or tuple(JobState)
        marks = ", ".join("?" * len(wanted))
        with self._reading() as database:
            rows = database.execute(
                f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY number DESC LIMIT ?",  # noqa: S608 - marks only
                (*wanted, limit),
            ).fetchall()
        return [_job(row) for row in rows]

    def unfinished_count(self) -> int:
        with self._reading() as database:
            row = database.execute("SELECT count(*) FROM jobs WHERE state IN (?, ?)", _UNFINISHED).fetchone()
        return int(row[0])

    def in_use(self) -> frozenset[str]:
        """Ids of the unfinished jobs and of their clips: what the caches have to keep for them."""
        with self._reading() as database:
            rows = database.execute("SELECT id, clip FROM jobs WHERE state IN (?, ?)", _UNFINISHED).fetchall()
        return frozenset(name for row in rows for name in (row["id"], row["clip"]))

    def events(self, job: str, after: int = 0) -> list[Event]:
        """Events with a sequence number above `after`, in order."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT * FROM events WHERE job = ? AND sequence > ? ORDER BY sequence", (job, after)
            ).fetchall()
        return [_event(row) for row in rows]

    def take_next(self) -> Job | None:
        """Marks the oldest queued job as running and returns it; None when the queue is empty."""
        with self._writing() as database:
            row = database.execute(
                "SELECT id FROM jobs WHERE state = ? ORDER BY number LIMIT 1", (JobState.QUEUED,)
            ).fetchone()
            if row is None:
                return None
            database.execute(
                "UPDATE jobs SET state = ?, started = coalesce(started, ?) WHERE id = ?",
                (JobState.RUNNING, time.time(), row["id"]),
            )
            return self._say_state(database, row["id"])

    def progress(self, job: str, progress: Progress) -> int:
        """Records progress; returns the event's sequence number."""
        with self._writing() as database:
            body = json.dumps(asdict(progress))
            database.execute("UPDATE jobs SET progress = ? WHERE id = ?", (body, job))
            return self._say(database, job, "progress", body)

    def figure(self, job: str, figure: Figure) -> None:
        """Records a point of a curve."""
        with self._writing() as database:
            self._say(database, job, "figure", json.dumps(asdict(figure)))

    def log(self, job: str, text: str) -> None:
        with self._writing() as database:
            self._say(database, job, "log", json.dumps(text))

    def finish(self, job: str, take: str) -> Job:
        with self._writing(durable=True) as database:
            return self._end(database, job, JobState.DONE, take=take)

    def fail(self, job: str, error: str, kind: str) -> Job:
        with self._writing(durable=True) as database:
            return self._end(database, job, JobState.FAILED, error=error, kind=kind)

    def cancelled(self, job: str) -> Job:
        with self._writing(durable=True) as database:
            return self._end(database, job, JobState.CANCELLED)

    def requeue(self, job: str) -> Job:
        """Puts a running job back because the backend is about to stop."""
        with self._writing() as database:
            database.execute("UPDATE jobs SET state = ? WHERE id = ?", (JobState.QUEUED, job))
            return self._say_state(database, job)

    def request_cancel(self, job: str) -> Job:
        """Cancels a queued job at once, and marks a running one; a job that has ended stays as it is."""
        with self._writing(durable=True) as database:
            found = self._get(database, job)
            if found.state is JobState.QUEUED:
                return self._end(database, job, JobState.CANCELLED)
            if found.state is JobState.RUNNING:
                database.execute("UPDATE jobs SET cancel_requested = 1 WHERE id = ?", (job,))
            return found

    def cancel_requested(self, job: str) -> bool:
        with self._reading() as database:
            row = database.execute("SELECT cancel_requested FROM jobs WHERE id = ?", (job,)).fetchone()
        return row is not None and bool(row["cancel_requested"])

    def pick_up(self, *, give_up_after: int = 3) -> list[Job]:
        """Puts every job that an earlier backend left unfinished back into the queue; returns those.

        A job that was being cancelled is cancelled. One during which the backend died `give_up_after` times
        without getting any further is failed instead: it would kill this backend too.
        """
        with self._reading() as database:
            rows = database.execute(
                "SELECT * FROM jobs WHERE state = ? OR (state = ? AND started IS NOT NULL) ORDER BY number",
                (JobState.RUNNING, JobState.QUEUED),
            ).fetchall()
        picked: list[Job] = []
        for row in rows:
            died, job = row["state"] == JobState.RUNNING, _job(row)
            reached = 0.0 if job.progress is None else job.progress.fraction
            deaths = (row["deaths"] + 1 if reached <= row["died_at"] else 1) if died else 0
            if row["cancel_requested"]:
                self.cancelled(job.id)
            elif deaths >= give_up_after:
                self.fail(job.id, _hopeless(job, deaths), "internal")
            else:
                picked.append(self._resume(job.id, deaths, reached))
        return picked

    def clip_at(self, path: str, fingerprint: str) -> str | None:
        """The content hash of a source seen before and not changed since; None when it has to be hashed."""
        with self._reading() as database:
            row = database.execute(
                "SELECT id FROM clips WHERE path = ? AND fingerprint = ?", (path, fingerprint)
            ).fetchone()
        return None if row is None else str(row["id"])

    def remember_clip(self, clip: str, path: str, fingerprint: str) -> None:
        with self._writing() as database:
            database.execute(
                "INSERT INTO clips (path, id, fingerprint, opened) VALUES (?, ?, ?, ?) ON CONFLICT (path) "
                "DO UPDATE SET id = excluded.id, fingerprint = excluded.fingerprint, opened = "
                "excluded.opened",
                (path, clip, fingerprint, time.time()),
            )

    def clip_sources(self, clip: str) -> list[tuple[str, str]]:
        """(path, fingerprint) of every file known to hold a clip, the last opened first."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT path, fingerprint FROM clips WHERE id = ? ORDER BY opened DESC", (clip,)
            ).fetchall()
        return [(str(row["path"]), str(row["fingerprint"])) for row in rows]

    def stage_seconds(self, recipe: str) -> dict[str, float]:
        """How long each stage of the last job of this recipe took; empty when there was none."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT stage, seconds FROM stage_seconds WHERE recipe = ?", (recipe,)
            ).fetchall()
        return {str(row["stage"]): float(row["seconds"]) for row in rows}

    def remember_stage_seconds(self, recipe: str, seconds: Mapping[str, float]) -> None:
        with self._writing() as database:
            database.executemany(
                "INSERT INTO stage_seconds (recipe, stage, seconds) VALUES (?, ?, ?) "
                "ON CONFLICT (recipe, stage) DO UPDATE SET seconds = excluded.seconds",
                [(recipe, stage, value) for stage, value in seconds.items()],
            )

    def forget_old(self, *, keep: int = 1000) -> list[str]:
        """Drops ended jobs but the `keep` newest, with their events; returns their ids. Takes stay."""
        with self._writing() as database:
            rows = database.execute(
                "SELECT id FROM jobs WHERE ended IS NOT NULL ORDER BY number DESC LIMIT -1 OFFSET ?", (keep,)
            ).fetchall()
            database.executemany("DELETE FROM jobs WHERE id = ?", [(row["id"],) for row in rows])
        return [str(row["id"]) for row in rows]

    def _resume(self, job: str, deaths: int, reached: float) -> Job:
        with self._writing() as database:
            database.execute(
                "UPDATE jobs SET state = ?, resumes = resumes + 1, deaths = ?, died_at = ? WHERE id = ?",
                (JobState.QUEUED, deaths, reached, job),
            )
            return self._say_state(database, job)

    def _end(
        self,
        database: sqlite3.Connection,
        job: str,
        state: JobState,
        *,
        take: str = "",
        error: str = "",
        kind: str = "",
    ) -> Job:
        found = self._get(database, job)
        if found.state.ended:
            return found
        database.execute(
            "UPDATE jobs SET state = ?, ended = ?, take = ?, error = ?, error_kind = ? WHERE id = ?",
            (state, time.time(), take, error, kind, job),
        )
        return self._say_state(database, job)

    @staticmethod
    def _get(database: sqlite3.Connection, job: str) -> Job:
        row = database.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
        if row is None:
            raise NotFound(f"There is no job “{job}”; list the jobs to see which there are.")
        return _job(row)

    def _say_state(self, database: sqlite3.Connection, job: str) -> Job:
        now = self._get(database, job)
        self._say(database, job, "state", json.dumps(asdict(now)))
        return now

    @staticmethod
    def _say(database: sqlite3.Connection, job: str, kind: str, body: str) -> int:
        row = database.execute(
            "SELECT coalesce(max(sequence), 0) + 1 FROM events WHERE job = ?", (job,)
        ).fetchone()
        sequence = int(row[0])
        database.execute(
            "INSERT INTO events (job, sequence, time, kind, body) VALUES (?, ?, ?, ?, ?)",
            (job, sequence, time.time(), kind, body),
        )
        return sequence

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            yield self._connection

    @contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction, announced if it changed anything. durable: it survives a power cut, not only a
        killed process.
        """
        database = self._connection
        with self._lock:
            before = database.total_changes
            try:
                database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                database.execute("BEGIN IMMEDIATE")
                try:
                    yield database
                    database.execute("COMMIT")
                except BaseException:
                    if database.in_transaction:
                        database.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in _DISK_FULL:
                    raise
                raise DiskFull(
                    f"The disk that holds the job database {self._path} is full. Free some space "
                    "(`mattebox cache clear` empties the caches) and try again."
                ) from error
            changed = database.total_changes != before
        if changed:
            self._on_change()


def _progress(body: str) -> Progress:
    return Progress(**json.loads(body))


def _hopeless(job: Job, deaths: int) -> str:
    at = job.progress
    where = f" (last seen in stage {at.stage}, step {at.step} of {at.of})" if at is not None else ""
    return (
        f"The backend died {deaths} times while rendering this job{where}, so it will not be tried again. "
        "See the backend's log; a smaller range or size may fit into memory."
    )


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        state=JobState(row["state"]),
        title=row["title"],
        clip=row["clip"],
        submitted=row["submitted"],
        started=row["started"],
        ended=row["ended"],
        error=row["error"],
        error_kind=row["error_kind"],
        take=row["take"],
        progress=None if row["progress"] is None else _progress(row["progress"]),
        resumes=row["resumes"],
    )


def _event(row: sqlite3.Row) -> Event:
    body = json.loads(row["body"])
    what: StateChange | Progress | LogLine | Figure
    match row["kind"]:
        case "progress":
            what = Progress(**body)
        case "log":
            what = LogLine(body)
        case "figure":
            what = Figure(**body)
        case _:
            progress = body.pop("progress")
            state = JobState(body.pop("state"))
            what = StateChange(Job(**body, state=state, progress=Progress(**progress) if progress else None))
    return Event(sequence=row["sequence"], time=row["time"], what=what)
