"""The composite: the last thing every method does, and the promise that what was not masked did not
change.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8] | NDArray[np.uint16]


def composite(source: Frame, edited: NDArray[np.float32], matte: NDArray[np.float32] | None) -> Frame:
    """An edited frame over its source, at the source's size and depth.

    source: (H, W, 3) or (H, W, 4), uint8 or uint16; edited: (h, w, 3) float32 in [0, 1] at any size;
    matte: (H, W) float32 in [0, 1], or None for the edited frame as it is, everywhere.

    Where the matte is 0 the result is the source bit for bit; alpha is always the source's.
    """
    height, width = source.shape[:2]
    top = float(np.iinfo(source.dtype).max)
    fitted = fit(edited, height, width)
    if matte is None:
        mixed = np.rint(fitted * top)
        touched = np.ones((height, width), bool)
    else:
        weight = matte[..., None]
        mixed = np.rint(weight * fitted * top + (1 - weight) * source[..., :3])
        touched = matte > 0
    result = source.copy()
    result[touched, :3] = mixed[touched].astype(source.dtype)
    return result


def fit(frame: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A frame (h, w, 3) float32 in [0, 1] at another size: by area where it shrinks, Lanczos where it
    grows.
    """
    if frame.shape[:2] == (height, width):
        return frame
    shrinks = frame.shape[0] >= height and frame.shape[1] >= width
    resized = cv2.resize(
        frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    )
    return np.clip(np.asarray(resized, np.float32), 0, 1)
