"""Unsaved work is written aside every few seconds, and offered again after a crash."""

from __future__ import annotations

import os
from pathlib import Path

from mattebox_proto.discovery import process_lives
from mattebox_proto.paths import folders, private_folder

from mattebox_desktop.model.errors import ProjectFileError
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.project_file import SUFFIX, save_project


class Recovery:
    """The aside copy of this process's project: `recovery/<pid>.mattebox` under the data folder."""

    def __init__(self) -> None:
        self._folder = folders().data / "recovery"
        self.path = self._folder / f"{os.getpid()}{SUFFIX}"

    def keep(self, project: Project) -> None:
        """Writes the project aside.

        Raises:
            ProjectFileError: it cannot be written.
        """
        try:
            private_folder(self._folder)
        except OSError as error:
            raise ProjectFileError(
                self.path,
                f"Unsaved work cannot be kept in “{self._folder}” ({error.strerror}); save it yourself.",
            ) from error
        save_project(project, self.path)

    def discard(self) -> None:
        """The project is saved or given up: nothing is to be recovered."""
        self.path.unlink(missing_ok=True)

    def left_behind(self) -> list[Path]:
        """Copies of processes that ended without discarding theirs, the newest first."""
        found = [
            path
            for path in self._folder.glob(f"*{SUFFIX}")
            if path.stem.isdigit() and path != self.path and not process_lives(int(path.stem))
        ]
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
