"""Unsaved work is written aside every few seconds, and offered again after a crash."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import IO

from mattebox_proto.file_lock import try_lock
from mattebox_proto.paths import folders, private_folder

from mattebox_desktop.model.errors import ProjectFileError
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.project_file import SUFFIX, save_project


class Recovery:
    """The aside copy of this process's project, in `recovery` under the data folder.

    A process's id comes again: so the copy's name is partly random, and a lock beside it, which ends with the
    process, tells whether anyone still works on it.
    """

    def __init__(self) -> None:
        self._folder = folders().data / "recovery"
        self.path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        self._lock: IO[bytes] | None = None

    def keep(self, project: Project) -> None:
        """Writes the project aside.

        Raises:
            ProjectFileError: it cannot be written.
        """
        try:
            private_folder(self._folder)
            self._hold()
        except OSError as error:
            raise ProjectFileError(
                self.path,
                f"Unsaved work cannot be kept in “{self._folder}” ({error.strerror}); save it yourself.",
            ) from error
        save_project(project, self.path)

    def discard(self) -> None:
        """The project is saved or given up: nothing is to be recovered."""
        if self._lock is not None:
            self.path.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None
            self.forget(self.path)

    def left_behind(self) -> list[Path]:
        """Copies of processes that ended without discarding theirs, the newest first."""
        found = [path for path in self._folder.glob(f"*{SUFFIX}") if path != self.path and not _held(path)]
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    def forget(self, path: Path) -> None:
        """Removes a copy that is no longer needed."""
        path.unlink(missing_ok=True)
        _lock_of(path).unlink(missing_ok=True)

    def _hold(self) -> None:
        if self._lock is None:
            self._lock = _lock_of(self.path).open("wb")
            try_lock(self._lock)


def _held(path: Path) -> bool:
    """The process that wrote the copy still runs."""
    try:
        with _lock_of(path).open("rb") as file:
            return not try_lock(file)
    except FileNotFoundError:
        return False


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")
