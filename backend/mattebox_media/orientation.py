"""The display matrix of a video (its rotation flag): turning stored pictures the way they are shown."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame

from mattebox_media.clip import Frame

_MATRIX_BYTES = 36


@dataclass(frozen=True, slots=True)
class Orientation:
    """First swap rows and columns, then mirror: the eight ways a picture can lie."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """From the frame's display matrix; angles that are no multiple of 90 degrees count as upright."""
        data = frame.side_data.get(SideDataType.DISPLAYMATRIX)  # type: ignore[call-overload]
        if data is None or len(bytes(data)) < _MATRIX_BYTES:
            return cls()
        # Row vectors: (x, y) goes to (a·x + c·y, b·x + d·y); u, v and w belong to the projection.
        a, b, _u, c, d = struct.unpack("=5i", bytes(data)[:20])
        if b == c == 0 and a and d:
            return cls(False, a < 0, d < 0)
        if a == d == 0 and b and c:
            return cls(True, c < 0, b < 0)
        return cls()

    @property
    def degrees(self) -> int:
        """Counter-clockwise turn in degrees (0, 90, 180 or 270), without any mirroring."""
        if self.transpose:
            return 270 if self.flip_x else 90
        return 180 if self.flip_y else 0

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height (pixels) after the turn."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, picture: Frame) -> Frame:
        """The picture (H, W, C) as shown; C-contiguous, the same array where nothing turns."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        if self.flip_x:
            picture = picture[:, ::-1]
        if self.flip_y:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)
