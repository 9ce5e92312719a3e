"""The side-by-side sheet of a result."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_CELL = 256
_GAP = 8
_LABEL = 28
_PAPER = (24, 24, 28)
_INK = (230, 230, 230)


def color_of(number: int) -> str:
    """The colour of region `number`, from 0, as "#rrggbb": neighbours in number are far apart in hue."""
    turn = number * 0.618034 + 0.08
    red, green, blue = colorsys.hsv_to_rgb(turn % 1, 0.85, 1.0)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def tinted(picture: NDArray[np.uint8], regions: Iterable[tuple[NDArray[np.uint8], str]]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) with regions in their colours over it: mask (H, W) uint8 and "#rrggbb" each."""
    mixed = picture.astype(np.float32)
    for mask, color in regions:
        tint = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32)
        mixed += (tint - mixed) * (mask[..., None].astype(np.float32) / 255 * 0.6)
    return mixed.round().astype(np.uint8)


def side_by_side(
    rows: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]], frames: Sequence[int]
) -> Image.Image:
    """A sheet with one labelled row per version of the clip and one column per frame.

    rows: (label, pictures (H, W, 3) uint8 RGB of one size, one per entry of `frames`).
    """
    height, width = rows[0][1][0].shape[:2]
    scale = max(1, _CELL // max(width, height))
    cell = (width * scale, height * scale)
    step = (cell[0] + _GAP, cell[1] + _LABEL)
    sheet = Image.new("RGB", (len(frames) * step[0] + _GAP, len(rows) * step[1] + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for row, (label, pictures) in enumerate(rows):
        top = row * step[1]
        for column, (frame, picture) in enumerate(zip(frames, pictures, strict=True)):
            left = _GAP + column * step[0]
            text = f"{label}   frame {frame}" if column == 0 else f"frame {frame}"
            draw.text((left, top + 6), text, fill=_INK, font=font)
            enlarged = Image.fromarray(picture).resize(cell, Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left, top + _LABEL))
    return sheet
