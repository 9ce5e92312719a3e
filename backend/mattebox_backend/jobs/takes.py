"""Takes on the disk: one folder each, complete or absent; the folders are the truth, no database lists them.

takes/<id>/take.mkv      the frames, lossless (FFV1, RGB)
takes/<id>/edit.toml     the edit that made it, with masks/<region>/*.png and references/*.png beside it:
                         `mattebox edit` renders it again
takes/<id>/report.json   what was measured
takes/<id>/inspection/   what attention and controls did, where the edit asked for it
takes/<id>/take.json     clip, range, size, rate, when, and the edit as a message without pixels
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from mattebox_media.clip import Frame
from mattebox_media.writer import write_clip

from mattebox_backend.edit import Edit
from mattebox_backend.errors import NotFound
from mattebox_backend.jobs.editfile import save_edit

_log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-z]{1,64}")
_PART = ".part-"
_TRASH = ".trash-"


@dataclass(frozen=True, slots=True)
class Take:
    """start, stop: frames of the clip, half open. fps: frames per second. made: seconds since the epoch.

    clip, clip_path: the content hash of the source, and where it lay. edit: a `mattebox.v1.Edit` without
    masks and pictures, as JSON.
    """

    id: str
    job: str
    clip: str
    clip_path: str
    start: int
    stop: int
    width: int
    height: int
    fps: Fraction
    made: float
    edit: Mapping[str, Any]


class TakeShelf:
    """All takes of one home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def video(self, take: str) -> Path:
        return self._path(take) / "take.mkv"

    def get(self, take: str) -> Take:
        """Raises NotFound."""
        path = self._path(take)
        try:
            fields = json.loads((path / "take.json").read_text(encoding="utf-8"))
            return Take(**{**fields, "fps": Fraction(fields["fps"])})
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"There is no take “{take}”; list the takes to see which there are.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise NotFound(
                f"The take “{take}” is damaged: {path / 'take.json'} cannot be read ({error})."
            ) from error

    def has(self, take: str) -> bool:
        return (self._path(take) / "take.json").is_file()

    def takes(self) -> list[Take]:
        """Every readable take, newest first."""
        found = []
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if not _ID.fullmatch(path.name):
                continue
            try:
                found.append(self.get(path.name))
            except NotFound as error:
                _log.warning("%s", error)
        return sorted(found, key=lambda take: take.made, reverse=True)

    def report(self, take: str) -> str:
        """The report as JSON text. Raises NotFound."""
        try:
            return (self._path(take) / "report.json").read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise NotFound(f"The take “{take}” has no report; it may have been deleted.") from error

    def inspection(self, take: str) -> Path:
        """The folder of what an inspected run did; it may not be there. Raises NotFound for no take."""
        self.get(take)
        return self._path(take) / "inspection"

    def delete(self, take: str) -> None:
        """Raises NotFound."""
        path = self._path(take)
        trash = path.with_name(f"{_TRASH}{secrets.token_hex(8)}")
        try:
            path.replace(trash)
        except FileNotFoundError as error:
            raise NotFound(f"There is no take “{take}”; list the takes to see which there are.") from error
        shutil.rmtree(trash, ignore_errors=True)

    @contextmanager
    def draft(self, take: str) -> Iterator[Draft]:
        """A take in the making; nothing of it stays unless `Draft.commit` was called."""
        part = self._folder / f"{_PART}{take}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield Draft(part, self._path(take))
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what killed backends left half-written or half-deleted."""
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name.startswith((_PART, _TRASH)):
                    shutil.rmtree(path, ignore_errors=True)

    def _path(self, take: str) -> Path:
        if not _ID.fullmatch(take):
            raise NotFound(f"There is no take “{take}”; list the takes to see which there are.")
        return self._folder / take


class Draft:
    """A take's folder before it has its name."""

    def __init__(self, folder: Path, final: Path) -> None:
        self._folder = folder
        self._final = final
        self.frames_written = 0

    def write_frames(
        self, frames: Iterable[Frame], *, fps: Fraction, times: Sequence[Fraction] | None = None
    ) -> None:
        """Stores the frames as they come, losslessly. times: seconds of each, where the rate varies."""

        def counted() -> Iterator[Frame]:
            for frame in frames:
                self.frames_written += 1
                yield frame

        write_clip(self._folder / "take.mkv", counted(), fps=fps, times=times)

    def add_inspection(self, folder: Path) -> None:
        """Takes over what an inspected run left in a folder, if there is one."""
        if folder.is_dir():
            shutil.copytree(folder, self._folder / "inspection")

    def commit(self, take: Take, edit: Edit, report: Mapping[str, Any]) -> None:
        """Adds what belongs to the frames, and gives the folder its name in one step."""
        save_edit(self._folder, edit)
        _write(self._folder / "report.json", json.dumps(report, indent=2))
        _write(self._folder / "take.json", json.dumps({**asdict(take), "fps": str(take.fps)}, indent=2))
        for folder in (self._folder, *(path for path in self._folder.rglob("*") if path.is_dir())):
            _sync_folder(folder)
        self._folder.replace(self._final)
        _sync_folder(self._final.parent)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
