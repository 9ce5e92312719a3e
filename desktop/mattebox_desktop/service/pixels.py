"""What is done to the pixels of a picture: depth, transparency, size."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
_SMOOTH = Image.Resampling.LANCZOS


class Fit(StrEnum):
    """How a picture of another size gets the clip's."""

    COVER = "cover"
    CONTAIN = "contain"


def eight_bit(frame: NDArray[Any]) -> Pixels:
    """A frame (H, W, 3 or 4) uint8 or uint16 as (H, W, 3) uint8."""
    shown = frame[..., :3]
    return (shown >> 8).astype(np.uint8) if shown.dtype == np.uint16 else shown.astype(np.uint8, copy=False)


def over(picture: Pixels, frame: Pixels) -> Pixels:
    """A picture (H, W, 3 or 4) on a frame (H, W, 3) of its size, which shows where the picture is
    transparent.
    """
    if picture.shape[2] == 3:
        return picture
    return _placed(Image.fromarray(picture), frame, (0, 0))


def fitted(picture: Pixels, frame: Pixels, fit: Fit) -> Pixels:
    """A picture (h, w, 3 or 4) at the size of the frame (H, W, 3) that it is of.

    COVER scales it until it covers the frame and crops what sticks out, the same on both sides. CONTAIN
    scales it until it fits into the frame, in its middle, with the frame's own pixels around it.
    """
    height, width = frame.shape[:2]
    image = Image.fromarray(picture)
    if fit is Fit.COVER:
        scale = max(width / image.width, height / image.height)
        left, top = (image.width - width / scale) / 2, (image.height - height / scale) / 2
        box = (left, top, image.width - left, image.height - top)
        return _placed(image.resize((width, height), _SMOOTH, box), frame, (0, 0))
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    corner = (width - size[0]) // 2, (height - size[1]) // 2
    return _placed(image.resize(size, _SMOOTH), frame, corner)


def _placed(image: Image.Image, frame: Pixels, corner: tuple[int, int]) -> Pixels:
    canvas = Image.fromarray(frame)
    canvas.paste(image, corner, image if image.mode == "RGBA" else None)
    return np.array(canvas)
