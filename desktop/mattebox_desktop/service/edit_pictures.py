"""The pictures that an edit file names: masks, references and conditions, read alike by command line and
desktop.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mattebox_media import open_clip
from mattebox_proto.editfile.message import ReadReference
from mattebox_proto.editfile.spec import Fit as FitName
from mattebox_proto.errors import InvalidEditFile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mattebox_desktop.model.errors import PictureError
from mattebox_desktop.service.picture_files import read_picture
from mattebox_desktop.service.pixels import Fit, Pixels, eight_bit, fitted, over


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


def reference_reader(source: Path) -> ReadReference:
    """Reads references of that clip, which is opened only for those that show some of its frame."""

    def frame(index: int) -> Pixels:
        with open_clip(source) as reader:
            return eight_bit(reader.frame(index))

    def read(path: Path, index: int, fit: FitName | None) -> Pixels:
        """Raises InvalidEditFile for a picture, MediaError for a frame that cannot be read."""
        try:
            picture = read_picture(path)
        except PictureError as error:
            raise InvalidEditFile(f"The reference of frame {index}: {error}") from error
        if fit is None and picture.shape[2] == 3:
            return picture
        shown = frame(index)
        if picture.shape[:2] == shown.shape[:2]:
            return over(picture, shown)
        return picture[..., :3] if fit is None else fitted(picture, shown, Fit(fit))

    return read


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
