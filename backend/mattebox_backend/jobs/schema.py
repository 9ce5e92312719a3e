"""The job database's tables, one migration per schema version."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path

from mattebox_backend.errors import DamagedStore

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE jobs (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            state TEXT NOT NULL,
            title TEXT NOT NULL,
            clip TEXT NOT NULL,
            submitted REAL NOT NULL,
            started REAL,
            ended REAL,
            error TEXT NOT NULL DEFAULT '',
            error_kind TEXT NOT NULL DEFAULT '',
            take TEXT NOT NULL DEFAULT '',
            resumes INTEGER NOT NULL DEFAULT 0,
            progress TEXT,
            cancel_requested INTEGER NOT NULL DEFAULT 0,
            deaths INTEGER NOT NULL DEFAULT 0,
            died_at REAL NOT NULL DEFAULT -1
        )""",
        "CREATE INDEX jobs_by_state ON jobs (state, number)",
        "CREATE TABLE edits (job TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE, data BLOB NOT "
        "NULL)",
        """CREATE TABLE events (
            job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            sequence INTEGER NOT NULL,
            time REAL NOT NULL,
            kind TEXT NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (job, sequence)
        ) WITHOUT ROWID""",
        """CREATE TABLE clips (
            path TEXT PRIMARY KEY,
            id TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            opened REAL NOT NULL
        )""",
        "CREATE INDEX clips_by_id ON clips (id, opened)",
        """CREATE TABLE stage_seconds (
            recipe TEXT NOT NULL,
            stage TEXT NOT NULL,
            seconds REAL NOT NULL,
            PRIMARY KEY (recipe, stage)
        ) WITHOUT ROWID""",
    ),
)

_log = logging.getLogger(__name__)


def open_database(path: Path) -> sqlite3.Connection:
    """Opens the job database, made or brought up to date as needed.

    One that cannot be read is moved aside, never deleted, and a new one begun: takes do not live in it.
    Raises DamagedStore for one that a newer Mattebox wrote.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise DamagedStore(
                f"The job database {path} cannot be opened ({error}). Check that its folder can be written "
                "to."
            ) from error
        aside = _move_aside(path)
        _log.warning(
            "the job database %s is damaged (%s); it was kept as %s, a new one begun", path, error, aside
        )
        connection = _connect(path)
    _migrate(connection, path)
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.replace(aside.with_name(aside.name + ending))
    return aside


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        connection.close()
        raise DamagedStore(
            f"The job database {path} has schema version {version}, and this Mattebox knows up to "
            f"{len(MIGRATIONS)}. Install a newer Mattebox, or point MATTEBOX_HOME to another folder."
        )
    for number in range(version, len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
