"""The pictures that an edit file names: masks and references, read alike by command line and desktop."""

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
        if picture.mode.startswith("I;16") or picture.mode == "I":
            return (np.asarray(picture).astype(np.uint32) // 257).clip(0, 255).astype(np.uint8)
        return np.array(picture.convert("RGB").convert("L") if picture.mode == "P" else picture.convert("L"))


def read_image(path: Path) -> NDArray[np.uint8]:
    """Returns (H, W, 3) uint8 RGB. Raises InvalidEditFile."""
    with _open(path) as picture:
        return np.array(picture.convert("RGB"))


def _open(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InvalidEditFile(f"The picture {path} cannot be read; save it again as PNG.") from error
    return picture
