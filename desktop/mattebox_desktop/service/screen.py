"""What the viewer is to show: a frame of the source, and the same moment of the take in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from mattebox_media import open_clip
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal

from mattebox_desktop.model.project import Take
from mattebox_desktop.service.frames import FrameSource, shrunk
from mattebox_desktop.service.worker import Worker

TAKE_THUMBNAIL = 64


class Screen(QObject):
    """Pairs the frames of two sources, so that they never show different moments.

    Signals: `frame_ready(index, source, take)` with arrays, `take` None where none is in use;
    `source_shown()` when a frame of the source could be read, `source_failed(error)` when not;
    `take_failed(Take, error)`, the take then being out of sight.
    """

    frame_ready = Signal(int, object, object)
    source_shown = Signal()
    source_failed = Signal(object)
    take_failed = Signal(object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._small = Worker("take thumbnails", self)
        self._source: FrameSource | None = None
        self._take: Take | None = None
        self._take_source: FrameSource | None = None
        self._source_frame: tuple[int, NDArray[Any]] | None = None
        self._take_frame: tuple[int, NDArray[Any]] | None = None
        self._wanted = 0
        self._asked: int | None = None

    def set_source(self, source: FrameSource) -> None:
        """Shows another clip; its frame source stays its owner's to close."""
        self._source = source
        self._source_frame = self._asked = None
        source.frame.connect(lambda index, frame: self._source_arrived(source, index, frame))
        source.failed.connect(lambda error: self._source_lost(source, error))

    def set_take(self, take: Take | None) -> None:
        """Puts a take before the source; None takes it away."""
        if take is self._take:
            return
        self._close_take()
        if take is not None:
            source = FrameSource(take.path, parent=self)
            self._take, self._take_source = take, source
            source.frame.connect(lambda index, frame: self._take_arrived(source, index, frame))
            source.failed.connect(lambda error: self._take_lost(source, error))
            source.start()
            self._ask()
        self._show()

    def request(self, frame: int) -> None:
        """Asks for a frame of the clip.

        While one is on its way, only the newest asked for is remembered: of two decoders the slower one
        would else be overtaken for ever, and nothing shown.
        """
        self._wanted = frame
        if self._asked is None:
            self._ask()

    def _ask(self) -> None:
        if self._source is None:
            return
        frame = self._asked = self._wanted
        self._source.request(frame)
        take = self._take
        if take is not None and self._take_source is not None and take.start <= frame < take.stop:
            self._take_source.request(frame - take.start)

    def request_thumbnails(self, indices: Iterable[int]) -> None:
        """Asks for small pictures of the clip."""
        if self._source is not None:
            self._source.request_thumbnails(indices)

    def take_thumbnail(self, take: Take, done: Callable[[NDArray[np.uint8]], object]) -> None:
        """Calls back with a small picture of the take's middle frame; not at all when it cannot be read."""

        def read() -> NDArray[np.uint8]:
            with open_clip(take.path) as reader:
                return shrunk(reader.frame(reader.info.frame_count // 2), TAKE_THUMBNAIL)

        self._small.submit(read, done, lambda _: None)

    def clear(self) -> None:
        """Forgets the clip and the take."""
        self._close_take()
        self._source = self._source_frame = self._asked = None

    def close(self) -> None:
        """Ends the threads."""
        self._close_take()
        self._small.close()

    def _source_arrived(self, source: FrameSource, index: int, frame: NDArray[Any]) -> None:
        if source is not self._source:
            return  # it was on its way when another clip was opened
        self._source_frame = index, frame
        self.source_shown.emit()
        self._show()

    def _source_lost(self, source: FrameSource, error: Exception) -> None:
        if source is self._source:
            self.source_failed.emit(error)
            self._go_on()

    def _take_arrived(self, source: FrameSource, index: int, frame: NDArray[Any]) -> None:
        if source is self._take_source and self._take is not None:
            self._take_frame = index + self._take.start, frame
            self._show()

    def _take_lost(self, source: FrameSource, error: Exception) -> None:
        take = self._take
        if source is self._take_source and take is not None:
            self._close_take()
            self._show()
            self.take_failed.emit(take, error)

    def _close_take(self) -> None:
        if self._take_source is not None:
            self._take_source.close()
            self._take_source.deleteLater()
        self._take_source = self._take = self._take_frame = None

    def _show(self) -> None:
        """Hands over the frame once both its sides are there."""
        if self._source_frame is None:
            return
        index, source = self._source_frame
        take = self._take
        if take is None or not take.start <= index < take.stop:
            self.frame_ready.emit(index, source, None)
        elif self._take_frame is not None and self._take_frame[0] == index:
            self.frame_ready.emit(index, source, self._take_frame[1])
        else:
            return
        if index == self._asked:
            self._go_on()

    def _go_on(self) -> None:
        """What was asked for has come, or cannot: asks for what is wanted by now."""
        asked, self._asked = self._asked, None
        if self._wanted != asked:
            self._ask()
