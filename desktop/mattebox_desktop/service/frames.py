"""Frames of one clip, decoded in a thread of their own: the newest request wins, thumbnails come when it is
idle.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from mattebox_media import ClipInfo, ClipReader, MediaError, open_clip
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal, SignalInstance

from mattebox_desktop.service.worker import CLOSING_SECONDS

CACHE_BYTES = 256 << 20
_EXACT_THUMBNAILS = 240
"""Longer clips show the keyframe before each place of the filmstrip: it is quick to decode."""


class FrameSource(QObject):
    """Opens a clip and hands out its frames.

    Signals (in the owner's thread): `opened(ClipInfo)`; `frame(index, (H, W, 3 or 4) array)`;
    `thumbnail(index, array)` about `thumbnail_height` pixels high; `failed(MediaError)` when it cannot be
    opened or a frame is damaged.
    """

    opened = Signal(object)
    frame = Signal(int, object)
    thumbnail = Signal(int, object)
    failed = Signal(object)

    def __init__(self, path: Path, *, thumbnail_height: int = 48, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.path = path
        self.info: ClipInfo | None = None
        self._thumbnail_height = thumbnail_height
        self._wake = threading.Condition()
        self._wanted: int | None = None
        self._thumbnails: deque[int] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"frames of {path.name}", daemon=True)

    def start(self) -> None:
        """Begins to open the clip; connect the signals first."""
        self._thread.start()

    def request(self, index: int) -> None:
        """Asks for a frame; one asked for before and not yet decoded is given up."""
        with self._wake:
            self._wanted = index
            self._wake.notify()

    def request_thumbnails(self, indices: Iterable[int]) -> None:
        """Asks for small pictures, in this order; those asked for before and not yet made are given up."""
        with self._wake:
            self._thumbnails = deque(indices)
            self._wake.notify()

    def close(self) -> None:
        """Ends the thread and closes the file."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSING_SECONDS)

    def _run(self) -> None:
        try:
            reader = open_clip(self.path, cache_bytes=CACHE_BYTES)
        except (MediaError, OSError) as error:
            self._tell_failure(error)
            return
        with reader:
            self.info = reader.info
            if self._closed:
                return
            self.opened.emit(reader.info)
            while self._serve(reader):
                pass

    def _serve(self, reader: ClipReader) -> bool:
        """Does one piece of work; False when there will be no more."""
        with self._wake:
            while self._wanted is None and not self._thumbnails and not self._closed:
                self._wake.wait()
            if self._closed:
                return False
            wanted, self._wanted = self._wanted, None
            small = self._thumbnails.popleft() if wanted is None else None
        try:
            if wanted is not None:
                self._tell(self.frame, wanted, reader.frame(wanted))
            elif small is not None:
                exact = reader.info.frame_count <= _EXACT_THUMBNAILS
                shown = reader.frame(small if exact else reader.keyframe_before(small))
                self._tell(self.thumbnail, small, shrunk(shown, self._thumbnail_height))
        except (MediaError, OSError) as error:
            self._tell_failure(error)
        return True

    def _tell(self, signal: SignalInstance, index: int, picture: object) -> None:
        if not self._closed:
            signal.emit(index, picture)

    def _tell_failure(self, error: Exception) -> None:
        if not self._closed:
            self.failed.emit(error)


def shrunk(frame: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """About `height` rows of the frame, each pixel the mean of a block (or itself when the frame is
    small).
    """
    step = max(1, frame.shape[0] // height)
    rows, columns = frame.shape[0] // step * step, frame.shape[1] // step * step
    blocks = frame[:rows, :columns].reshape(rows // step, step, columns // step, step, frame.shape[2])
    means: NDArray[np.uint8] = blocks.mean(axis=(1, 3)).astype(frame.dtype)
    return means
