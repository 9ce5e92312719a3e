"""A cache of decoded frames that never holds more bytes than it was given."""

from __future__ import annotations

import threading
from collections import OrderedDict

from mattebox_media.clip import Frame


class FrameCache:
    """Frames by index, least recently used out first. Safe to use from several threads at once."""

    def __init__(self, limit_bytes: int) -> None:
        """``limit_bytes`` of 0 keeps nothing; negative is a ValueError."""
        if limit_bytes < 0:
            raise ValueError(f"The frame cache cannot hold {limit_bytes} bytes; give 0 or more.")
        self.limit_bytes = limit_bytes
        self._bytes = 0
        self._frames: OrderedDict[int, Frame] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes of all frames held, never more than ``limit_bytes``."""
        return self._bytes

    def get(self, index: int) -> Frame | None:
        """The frame, now the most recently used, or None."""
        with self._lock:
            frame = self._frames.get(index)
            if frame is not None:
                self._frames.move_to_end(index)
            return frame

    def put(self, index: int, frame: Frame) -> None:
        """Keep the frame and drop the oldest ones; a frame larger than the whole cache is not kept."""
        if frame.nbytes > self.limit_bytes:
            return
        with self._lock:
            replaced = self._frames.pop(index, None)
            if replaced is not None:
                self._bytes -= replaced.nbytes
            while self._bytes + frame.nbytes > self.limit_bytes:
                _, oldest = self._frames.popitem(last=False)
                self._bytes -= oldest.nbytes
            self._frames[index] = frame
            self._bytes += frame.nbytes

    def clear(self) -> None:
        """Let every frame go."""
        with self._lock:
            self._frames.clear()
            self._bytes = 0
