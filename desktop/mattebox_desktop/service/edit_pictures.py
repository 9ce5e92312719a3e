"""The pictures that an edit file names: masks, references and conditions, read alike by command line and
desktop.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mattebox_proto.errors import InvalidEditFile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Returns (H, W) uint8; a colour picture counts by its brightness, 16 bit by its upper 8.

    Raises InvalidEditFile.
    """
    with _open(path) as picture:
        if _is_deep(picture):
            return _upper_eight_bits(picture)
        return np.array(picture.convert("RGB").convert("L") if picture.mode == "P" else picture.convert("L"))


def read_image(path: Path) -> NDArray[np.uint8]:
    """Returns (H, W, 3) uint8 RGB; of 16-bit grey, such as a depth map, the upper 8 bits.

    Raises InvalidEditFile.
    """
    with _open(path) as picture:
        if _is_deep(picture):
            return np.repeat(_upper_eight_bits(picture)[..., np.newaxis], 3, axis=-1)
        return np.array(picture.convert("RGB"))


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode.startswith("I;16") or picture.mode == "I"


def _upper_eight_bits(picture: Image.Image) -> NDArray[np.uint8]:
    return (np.asarray(picture).astype(np.uint32) // 257).clip(0, 255).astype(np.uint8)


def _open(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InvalidEditFile(f"The picture {path} cannot be read; save it again as PNG.") from error
    return picture
