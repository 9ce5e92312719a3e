"""How steady a clip is: temporal gradient, and the error after warping by the true flow."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.metrics.errors import MetricInputError
from mattebox_backend.metrics.fidelity import Frames, Mask


def temporal_gradient(frames: Frames, mask: Mask) -> float | None:
    """G_temp (ROI-aware diffusion, eq. 6.1) over ``mask``: mean squared change from a frame to the next,
    values in [0, 1].

    The norm is a mean over the pixels that lie in the mask in both frames, so that regions of different sizes
    compare. None when there is no such pixel.
    """
    if mask.shape != frames.shape[:3]:
        raise MetricInputError(
            f"The mask has size {mask.shape}, the clip {frames.shape[:3]}; give one mask per frame."
        )
    inside = mask.astype(bool)
    both = inside[1:] & inside[:-1]
    if not both.any():
        return None
    change = np.diff(frames.astype(np.float32) / 255, axis=0)
    return float(np.mean(np.square(change[both])))


def temporal_gradient_ratio(frames: Frames, reference: Frames, mask: Mask) -> float | None:
    """G_temp of ``frames`` over that of ``reference`` inside ``mask``: above 1 is flicker that the reference
    does not have.

    None when the mask is empty or the reference stands still there.
    """
    own, true = temporal_gradient(frames, mask), temporal_gradient(reference, mask)
    if own is None or true is None or true < 1e-9:
        return None
    return own / true


def warp_error(
    frames: Frames, flow: NDArray[np.float32], occluded: NDArray[np.bool_], mask: Mask | None = None
) -> float | None:
    """Warp-Err: mean squared difference, values in [0, 1], of each frame and the next one warped back by
    ``flow``.

    ``flow``: (F-1, H, W, 2) float32 pixels (dx, dy) from frame t to t+1, ``occluded``: (F-1, H, W) bool, left
    out. ``mask`` limits it to a region of frame t. None when nothing is left to compare.
    """
    if flow.shape != (len(frames) - 1, *frames.shape[1:3], 2) or occluded.shape != flow.shape[:3]:
        raise MetricInputError(
            f"The flow has size {flow.shape}, the clip {frames.shape}; flow has one field per pair of frames."
        )
    height, width = frames.shape[1:3]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    total, count = 0.0, 0
    for time in range(len(flow)):
        x, y = columns + flow[time, ..., 0], rows + flow[time, ..., 1]
        warped = cv2.remap(frames[time + 1], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        compared = ~occluded[time] & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        if mask is not None:
            compared &= mask[time].astype(bool)
        difference = (frames[time].astype(np.float32) - warped) / 255
        total += float(np.square(difference[compared]).sum())
        count += int(compared.sum()) * frames.shape[-1]
    return total / count if count else None
