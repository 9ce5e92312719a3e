"""Boxes and ellipses of an edit file, still or keyframed, as masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mattebox_proto.editfile.spec import Four, Keyframe


def at(shape: Four | Sequence[Keyframe], frame: int) -> Four:
    """The shape's four numbers at a frame of the source: held before the first keyframe and after the last,
    on a straight line in between.
    """
    if isinstance(shape, tuple):
        return shape
    frames = [key.frame for key in shape]
    x, y, w, h = (float(np.interp(frame, frames, [key.value[i] for key in shape])) for i in range(4))
    return (x, y, w, h)


def box_mask(box: Four, height: int, width: int) -> NDArray[np.uint8]:
    """box: x, y, width, height in pixels.

    Returns (H, W) uint8: 255 where a pixel's center lies in it.
    """
    x, y, w, h = box
    across, down = np.arange(width) + 0.5, np.arange(height) + 0.5
    inside = ((down >= y) & (down < y + h))[:, None] & ((across >= x) & (across < x + w))[None, :]
    return inside.astype(np.uint8) * np.uint8(255)


def ellipse_mask(ellipse: Four, height: int, width: int) -> NDArray[np.uint8]:
    """ellipse: center x, y, radius x, y in pixels.

    Returns (H, W) uint8: 255 where a pixel's center lies in it.
    """
    x, y, rx, ry = ellipse
    across = ((np.arange(width) + 0.5 - x) / rx) ** 2
    down = ((np.arange(height) + 0.5 - y) / ry) ** 2
    return (down[:, None] + across[None, :] <= 1).astype(np.uint8) * np.uint8(255)
