"""Pictures that tell a ControlNet how a frame is built, as far as they are made here: edges."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 100, 200
"""Thresholds that ControlNets for edges are trained with."""


def edges(frames: Iterable[NDArray[np.uint8]], low: float = LOW, high: float = HIGH) -> NDArray[np.uint8]:
    """The edges of frames (F, H, W, 3) uint8 RGB as Canny finds them: (F, H, W) uint8, 0 or 255.

    low, high: gradients (0 … 1530, the largest of the three channels') from which an edge goes on, and from
    which it begins (Canny, 1986). A step between two colours of one brightness is an edge too.
    """
    return np.stack([np.asarray(cv2.Canny(frame, low, high), np.uint8) for frame in frames])
