"""Frames as Qt pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QImage


def picture(frame: NDArray[Any]) -> QImage:
    """A frame, (H, W, 3) or (H, W, 4) uint8 or uint16 RGB(A), as an 8-bit image that owns its pixels."""
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype(np.uint8)
    frame = np.ascontiguousarray(frame)
    height, width, channels = frame.shape
    layout = QImage.Format.Format_RGBA8888 if channels == 4 else QImage.Format.Format_RGB888
    return QImage(frame.data, width, height, channels * width, layout).copy()
