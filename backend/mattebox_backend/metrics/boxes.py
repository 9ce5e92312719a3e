"""The part of a picture that a scorer is shown of a region: a square, since that is what it looks at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MARGIN = 0.1
"""By how much the square outgrows the region's bounding box on each side, as a share of the longer side."""

Box = tuple[slice, slice]
"""Rows and columns of a picture."""


def region_box(mask: NDArray[Any]) -> Box | None:
    """The square around what is non-zero in ``mask`` (H, W); None when the mask is empty. See
    :func:`square_box`.
    """
    inside = mask.astype(bool)
    if not inside.any():
        return None
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = (1 + 2 * MARGIN) * max(bottom - top, right - left)
    return square_box((top + bottom) / 2, (left + right) / 2, side, *mask.shape)


def square_box(row: float, column: float, side: float, height: int, width: int) -> Box:
    """The square of ``side`` pixels around a point of a picture of ``height`` × ``width`` pixels, moved
    inside the picture where it juts out; as much as the picture holds where it is too large.
    """
    return _span(row, side, height), _span(column, side, width)


def _span(middle: float, side: float, length: int) -> slice:
    size = min(length, max(1, round(side)))
    first = min(max(0, round(middle - size / 2)), length - size)
    return slice(int(first), int(first + size))
