"""Frames at the size that a backbone works at."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.backbones.protocol import WorkingSize
from mattebox_backend.controls.composite import Frame


def to_working_size(frame: Frame, size: WorkingSize) -> NDArray[np.uint8]:
    """A source frame as the backbone takes it: (H, W, 3) uint8 at working size."""
    pixels: NDArray[Any] = frame[..., :3]
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels.astype(np.float32) / 257).astype(np.uint8)
    if pixels.shape[:2] == (size.height, size.width):
        return np.asarray(pixels, np.uint8)
    shrinks = pixels.shape[0] >= size.height and pixels.shape[1] >= size.width
    filter_ = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    contiguous = np.ascontiguousarray(pixels)
    return np.asarray(cv2.resize(contiguous, (size.width, size.height), interpolation=filter_), np.uint8)
