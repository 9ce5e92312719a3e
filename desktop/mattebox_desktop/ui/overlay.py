"""Masks as tint and contour, computed at screen resolution for just the rectangle that is repainted.

Working on screen pixels keeps the contour 1.5 px wide at every zoom, and makes the cost of a brush move that
of the screen pixels it changes, whatever the clip's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRect
from PySide6.QtGui import QImage

from mattebox_desktop.model.mask_track import Mask
from mattebox_desktop.ui.geometry import ViewTransform

TINT = 0.35
_INSIDE = 128


@dataclass(frozen=True, slots=True)
class Tinted:
    """A mask to show. color: (red, green, blue), 0 to 255. strong: the selected region's contour is
    opaque.
    """

    mask: Mask
    color: tuple[int, int, int]
    strong: bool = True


def overlay(layers: Sequence[Tinted], view: ViewTransform, rect: QRect, ratio: float = 1.0) -> QImage | None:
    """The tints and contours of `layers`, later ones on top, over `rect` of the view.

    ratio: device pixels per view pixel. Returns an image of the rectangle's size in device pixels, or None
    where no mask shows.
    """
    width, height = round(rect.width() * ratio), round(rect.height() * ratio)
    if not layers or width <= 0 or height <= 0:
        return None
    columns = _samples(rect.x(), width, view.x, view.zoom, ratio)
    rows = _samples(rect.y(), height, view.y, view.zoom, ratio)
    canvas: NDArray[np.uint32] | None = None
    for layer in layers:
        values = _sampled(layer.mask, rows, columns)
        if values is None:
            continue
        if canvas is None:
            canvas = np.zeros((height, width), np.uint32)
        top, bottom, left, right = _bounds(values)
        _blend(canvas[top : bottom - 2, left : right - 2], values[top:bottom, left:right], layer)
    if canvas is None:
        return None
    image = QImage(canvas.data, width, height, 4 * width, QImage.Format.Format_ARGB32_Premultiplied).copy()
    image.setDevicePixelRatio(ratio)
    return image


def _samples(start: int, count: int, origin: float, zoom: float, ratio: float) -> NDArray[np.intp]:
    """The frame column (or row) under each device pixel, and under one more on both sides for the contour."""
    centres = start + (np.arange(-1, count + 1) + 0.5) / ratio
    samples: NDArray[np.intp] = np.floor((centres - origin) / zoom).astype(np.intp)
    return samples


def _sampled(mask: Mask, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.uint8] | None:
    """The mask under every device pixel, 0 outside the frame; None when there is nothing."""
    height, width = mask.shape
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    if not inside_rows.any() or not inside_columns.any():
        return None
    first_row, last_row = np.flatnonzero(inside_rows)[[0, -1]]
    first_column, last_column = np.flatnonzero(inside_columns)[[0, -1]]
    r, c = rows[first_row : last_row + 1], columns[first_column : last_column + 1]
    part = mask[r[0] : r[-1] + 1, c[0] : c[-1] + 1]
    part = part[r - r[0]][:, c - c[0]]
    if not part.any():
        return None
    values = np.zeros((len(rows), len(columns)), np.uint8)
    values[first_row : last_row + 1, first_column : last_column + 1] = part
    return values


def _bounds(values: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is set, with a border of one, in `values` (which has such a
    border).
    """
    set_rows, set_columns = np.flatnonzero(values.any(axis=1)), np.flatnonzero(values.any(axis=0))
    height, width = values.shape
    return (
        min(max(0, set_rows[0] - 2), height - 3),
        max(min(height, set_rows[-1] + 3), 3),
        min(max(0, set_columns[0] - 2), width - 3),
        max(min(width, set_columns[-1] + 3), 3),
    )


def _blend(canvas: NDArray[np.uint32], values: NDArray[np.uint8], layer: Tinted) -> None:
    """Draws one layer over the canvas (premultiplied, 0xAARRGGBB); `values` has a border of one around it."""
    inside = values >= _INSIDE
    core = inside[1:-1, 1:-1]
    neighbours = (inside[:-2, 1:-1], inside[2:, 1:-1], inside[1:-1, :-2], inside[1:-1, 2:])
    surrounded = neighbours[0] & neighbours[1] & neighbours[2] & neighbours[3]
    beside = neighbours[0] | neighbours[1] | neighbours[2] | neighbours[3]
    # One full pixel inside the edge and a half-covered one outside: a line of 1.5 pixels.
    alpha = _TINT_OF[values[1:-1, 1:-1]]
    full = 255 if layer.strong else 190
    alpha[beside & ~core] = full // 2
    alpha[core & ~surrounded] = full
    # Source over, premultiplied: a table of whole pixels says what each alpha adds.
    red, green, blue = layer.color
    steps = np.arange(256, dtype=np.float32)[:, None] / 255
    table = np.rint(steps * np.array([blue, green, red, 255], np.float32)).astype(np.uint8)
    added = np.take(table.view(np.uint32)[:, 0], alpha)
    if not canvas.any():
        canvas[...] = added
        return
    height, width = canvas.shape
    below = np.ascontiguousarray(canvas).view(np.uint8).reshape(height, width, 4).astype(np.uint16)
    below *= (255 - alpha)[..., None]
    below += 127
    below //= 255
    below += added.view(np.uint8).reshape(height, width, 4)
    canvas[...] = np.minimum(below, 255).astype(np.uint8).view(np.uint32)[..., 0]


_TINT_OF = np.rint(np.arange(256) * TINT).astype(np.uint8)
