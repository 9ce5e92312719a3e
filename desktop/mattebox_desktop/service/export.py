"""Writing the clip with the take in it to a file, in the background, with progress and cancel."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mattebox_media import (
    ClipReader,
    OutputFormat,
    check_output,
    files_at,
    open_clip,
    write_like,
)
from mattebox_media.errors import OutputFailed
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Qt, Signal, Slot


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A choice of the export dialog. suffix: what the file's name ends with; a sequence's has a number
    pattern.
    """

    words: str
    suffix: str
    format: OutputFormat


EXPORT_FORMATS = (
    ExportFormat("H.264 video (.mp4)", ".mp4", OutputFormat.H264),
    ExportFormat("HEVC video (.mp4)", ".mp4", OutputFormat.HEVC),
    ExportFormat("ProRes video (.mov)", ".mov", OutputFormat.PRORES),
    ExportFormat("FFV1 video, lossless (.mkv)", ".mkv", OutputFormat.FFV1),
    ExportFormat("PNG sequence, lossless", "_%04d.png", OutputFormat.PNG),
)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Frames [start, stop) of the clip into `target`; where the take covers a frame, the take's is written.

    take: its lossless video, whose first frame is frame `take_start` of the clip; None exports the source.
    kept: the project's clip and takes, which may not be written over.
    """

    clip: Path
    take: Path | None
    take_start: int
    take_stop: int
    start: int
    stop: int
    target: Path
    format: OutputFormat
    kept: tuple[Path, ...]


class ExportCancelled(Exception):
    """The user stopped the export; nothing was left behind."""


class Export(QObject):
    """One export. Signals: `progress(done, of)`, then one of `finished(Path)`, `failed(Exception)`,
    `cancelled()`.
    """

    progress = Signal(int, int)
    finished = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    _told = Signal(object)

    def __init__(self, request: ExportRequest, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.request = request
        self._stop = threading.Event()
        self._closed = False
        self._told.connect(self._tell, Qt.ConnectionType.QueuedConnection)
        self._thread = threading.Thread(target=self._run, name="export", daemon=True)

    def start(self) -> None:
        """Raises MediaError at once when the target's ending names no format that can be written, or when the
        export would land on the project's own footage.
        """
        check_output(self.request.target, format=self.request.format)
        spare(self.request.kept, self.request.target)
        self._thread.start()

    def cancel(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._closed = True
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _run(self) -> None:
        request = self.request
        try:
            with open_clip(request.clip) as source:
                write_like(
                    request.target,
                    self._frames(source),
                    source,
                    request.start,
                    request.stop,
                    format=request.format,
                )
        except ExportCancelled as stopped:
            self._told.emit(stopped)
        except Exception as error:  # whatever it is: an export that does not tell of its end never ends
            self._told.emit(error)
        else:
            self._told.emit(request.target)

    def _frames(self, source: ClipReader) -> Iterator[NDArray[Any]]:
        request = self.request
        take = None if request.take is None else open_clip(request.take)
        try:
            for index in range(request.start, request.stop):
                if self._stop.is_set():
                    raise ExportCancelled
                rendered = take is not None and request.take_start <= index < request.take_stop
                yield take.frame(index - request.take_start) if take and rendered else source.frame(index)
                self._told.emit((index + 1 - request.start, request.stop - request.start))
        finally:
            if take is not None:
                take.close()

    @Slot(object)
    def _tell(self, what: object) -> None:
        if self._closed:
            return
        if isinstance(what, tuple):
            self.progress.emit(*what)
        elif isinstance(what, ExportCancelled):
            self.cancelled.emit()
        elif isinstance(what, Exception):
            self.failed.emit(what)
        else:
            self.finished.emit(what)


def spare(kept: tuple[Path, ...], target: Path) -> None:
    """Raises OutputFailed when a file of the target is one of those to keep."""
    replaced = {file.resolve() for file in files_at(target)}
    if any(file.resolve() in replaced for path in kept for file in files_at(path)):
        raise OutputFailed(
            f"“{target.name}” is the project's clip or one of its takes; choose another name to export to."
        )
