"""What may be deleted at any time: inversions, adapters, uploads, checkpoints.

Least recently used first, never while in use.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mattebox_backend.errors import InvalidEdit

_log = logging.getLogger(__name__)

PART = ".part-"
"""Beginning of the name of what is still being written."""

_TRASH = ".trash-"
_ARRIVING_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of a cache. size: bytes. used: seconds since the epoch, when it was last touched."""

    path: Path
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What one cache holds. size: bytes."""

    name: str
    path: Path
    size: int
    entries: int


class Caches:
    """The caches under one limit.

    folders: name → folder. An entry is a file or a folder right below it, and counts as used when anything
    in it was last modified (whoever reads an entry touches it with `os.utime`). limited: the names that the
    limit counts. asked_for: the names of those that are cleared by their name alone: what they hold took long
    to make. pinned: names of entries (of any cache, without their endings) that may not go now.
    """

    def __init__(
        self,
        folders: dict[str, Path],
        *,
        limited: Sequence[str],
        limit_bytes: int,
        asked_for: Sequence[str] = (),
        pinned: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._folders = folders
        self._limited = tuple(limited)
        self._asked_for = frozenset(asked_for)
        self.limit_bytes = limit_bytes
        self._pinned = pinned
        self._lock = threading.Lock()
        self._readers: dict[int, float] = {}

    @contextmanager
    def reading_since(self, moment: float) -> Iterator[None]:
        """While this is open, whatever was used at `moment` (seconds since the epoch) or later stays."""
        reader = object()
        with self._lock:
            self._readers[id(reader)] = moment
        try:
            yield
        finally:
            with self._lock:
                del self._readers[id(reader)]

    def usage(self) -> list[Usage]:
        return [
            Usage(name, folder, sum(entry.size for entry in entries), len(entries))
            for name, folder in self._folders.items()
            for entries in [list(_entries(folder))]
        ]

    def clear(self, names: Sequence[str] = ()) -> None:
        """Empties the named caches, or all but those to be asked for; what is in use stays.

        Raises InvalidEdit for an unknown name.
        """
        for name in names:
            if name not in self._folders:
                raise InvalidEdit(f"There is no cache “{name}”; the caches are {', '.join(self._folders)}.")
        with self._lock:
            for name in names or [name for name in self._folders if name not in self._asked_for]:
                for entry in self._free(self._folders[name]):
                    _delete(entry.path)

    def trim(self) -> None:
        """Deletes the least recently used entries until the limit holds."""
        with self._lock:
            for name in self._limited:
                _empty_trash(self._folders[name])
            total = sum(entry.size for name in self._limited for entry in _entries(self._folders[name]))
            candidates = [entry for name in self._limited for entry in self._free(self._folders[name])]
            for entry in sorted(candidates, key=lambda candidate: candidate.used):
                if total <= self.limit_bytes:
                    return
                _delete(entry.path)
                total -= entry.size

    def _free(self, folder: Path) -> list[Entry]:
        pinned = self._pinned()
        # Clocks of file systems tick up to two seconds apart from ours.
        oldest_reader = min(self._readers.values(), default=float("inf")) - 2
        arriving = time.time() - _ARRIVING_SECONDS
        return [
            entry
            for entry in _entries(folder)
            if entry.path.stem not in pinned
            and entry.used < oldest_reader
            and not (entry.path.name.startswith(PART) and entry.used > arriving)
        ]


def _entries(folder: Path) -> Iterator[Entry]:
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    for path in paths:
        if path.name.startswith(_TRASH):
            continue
        size, used = 0, 0.0
        for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
            try:
                status = file.lstat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            size += status.st_size if not file.is_dir() else 0
            used = max(used, status.st_mtime)
        yield Entry(path, size, used)


def _delete(path: Path) -> None:
    """Moves an entry out of sight at once, so that no reader meets half of it, then deletes it."""
    trash = path.with_name(f"{_TRASH}{secrets.token_hex(8)}")
    try:
        os.rename(path, trash)  # noqa: PTH104 - says what happens: one atomic step
    except FileNotFoundError:
        return
    _remove(trash)


def _empty_trash(folder: Path) -> None:
    if folder.is_dir():
        for path in folder.glob(f"{_TRASH}*"):
            _remove(path)


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s could not be deleted: %s", path, error)
