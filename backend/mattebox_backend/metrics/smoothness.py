"""How smoothly a clip moves."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.metrics.fidelity import Frames

_SMALLEST = 16
"""Pixels of the shorter side below which the optical flow finds nothing."""


def motion_smoothness(frames: Frames) -> float | None:
    """VBench's motion smoothness (Huang et al., 2024): every second frame is dropped and
    interpolated from its neighbours, and what is lost by that, the mean absolute error, becomes
    (255 - MAE) / 255, so that 1 is perfectly smooth.

    VBench interpolates by AMT, a network; here it is done along optical flow (:func:`middle_frame`), so that
    the numbers compare among themselves and not with VBench's. frames: (F, H, W, 3) uint8. None for fewer
    than three frames.
    """
    if len(frames) < 3:
        return None
    errors = [
        float(np.mean(cv2.absdiff(frames[n], middle_frame(frames[n - 1], frames[n + 1]))))
        for n in range(1, len(frames) - 1, 2)
    ]
    return (255 - float(np.mean(errors))) / 255


def middle_frame(first: NDArray[np.uint8], last: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame halfway between two, (H, W, 3) uint8 each: both are warped there and averaged.

    The flow from the middle to either end is put together from that between the ends (Jiang et al., 2018,
    eq. 4, at t = 1/2), which DIS finds (Kroeger et al., 2016); pictures too small for that are averaged.
    """
    flow = np.zeros((*first.shape[:2], 2), np.float32)
    if min(first.shape[:2]) >= _SMALLEST:
        flow = (_flow(first, last) - _flow(last, first)) / 4
    return _average(_warp(first, -flow), _warp(last, flow))


def _flow(first: NDArray[np.uint8], last: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 2) pixels (dx, dy) from a frame to another."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, last)]
    start = np.zeros((*grey[0].shape, 2), np.float32)
    return np.asarray(finder.calc(grey[0], grey[1], start), np.float32)


def _warp(frame: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    warped = cv2.remap(frame.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)


def _average(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint((one + other) / 2), 0, 255).astype(np.uint8)
