"""The brush: a soft round stamp, set along the pen's path, touching only what it covers.

Stamps combine by maximum (paint) or minimum (erase), so a stroke that crosses itself does not build up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mattebox_desktop.model.mask_track import Mask
from mattebox_desktop.model.rect import NOWHERE, Rect

MIN_SIZE, MAX_SIZE = 1.0, 1000.0
_SUBPIXELS = 4
_SUBPIXEL_BELOW = 64.0


@dataclass(frozen=True, slots=True)
class Brush:
    """size: diameter in pixels, 1 to 1000. hardness: 0 (fades from the middle) to 1 (a crisp edge)."""

    size: float = 24.0
    hardness: float = 0.8

    def resized(self, size: float) -> Brush:
        return replace(self, size=min(MAX_SIZE, max(MIN_SIZE, size)))

    def hardened(self, hardness: float) -> Brush:
        return replace(self, hardness=min(1.0, max(0.0, hardness)))

    @property
    def spacing(self) -> float:
        """Pixels between stamps such that a crisp edge ripples by no more than 0.1 pixel: s²/(4 d) = 0.1."""
        return max(1.0, math.sqrt(0.4 * self.size))

    def draw(self, mask: Mask, start: tuple[float, float], end: tuple[float, float], *, erase: bool) -> Rect:
        """Stamps from `start` to `end` ((x, y) in pixels, pixel centres at .5) and returns what was covered.

        Both ends are stamped: the next segment starts where this one ends.
        """
        length = math.dist(start, end)
        count = max(1, math.ceil(length / self.spacing))
        touched = NOWHERE
        for i in range(count + 1 if length else 1):
            t = i / count
            x = start[0] + (end[0] - start[0]) * t
            y = start[1] + (end[1] - start[1]) * t
            touched = touched.united(self._stamp(mask, x, y, erase))
        return touched

    def _stamp(self, mask: Mask, x: float, y: float, erase: bool) -> Rect:
        steps = _SUBPIXELS if self.size < _SUBPIXEL_BELOW else 1
        column, row = math.floor(x * steps), math.floor(y * steps)
        stamp = _stamp(self.size, self.hardness, column % steps, row % steps, steps)
        reach = stamp.shape[0] // 2
        left, top = column // steps - reach, row // steps - reach
        whole = Rect(left, top, left + stamp.shape[1], top + stamp.shape[0])
        rect = whole.clipped(mask.shape[1], mask.shape[0])
        if rect.empty:
            return NOWHERE
        part = stamp[rect.top - top : rect.bottom - top, rect.left - left : rect.right - left]
        target = mask[rect.rows, rect.columns]
        if erase:
            np.minimum(target, 255 - part, out=target)
        else:
            np.maximum(target, part, out=target)
        return rect


@lru_cache(maxsize=64)
def _stamp(size: float, hardness: float, phase_x: int, phase_y: int, steps: int) -> NDArray[np.uint8]:
    """(2 r + 1, 2 r + 1) uint8: 255 in the hard core, a smooth fall to 0 at the rim, one pixel of
    anti-aliasing.
    """
    radius = size / 2
    reach = math.ceil(radius) + 1
    # The middle of the chosen subpixel, measured from the middle of the stamp's centre pixel.
    offset_x, offset_y = (phase_x + 0.5) / steps - 0.5, (phase_y + 0.5) / steps - 0.5
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    distance = np.hypot(axis[None, :] - offset_x, axis[:, None] - offset_y)
    core = min(radius * hardness, radius - 0.5)
    edge = radius + 0.5
    t = np.clip((edge - distance) / (edge - core), 0.0, 1.0)
    # The middle of the fall lies on the radius for a hard brush, and the fall is smooth (3 t² − 2 t³).
    values: NDArray[np.uint8] = np.rint(255 * t * t * (3 - 2 * t)).astype(np.uint8)
    return values


def fill_box(mask: Mask, start: tuple[float, float], end: tuple[float, float], *, erase: bool) -> Rect:
    """Fills the box between two corners ((x, y) in pixels) and returns what was covered."""
    left, right = sorted((start[0], end[0]))
    top, bottom = sorted((start[1], end[1]))
    rect = Rect(round(left), round(top), round(right), round(bottom)).clipped(mask.shape[1], mask.shape[0])
    if not rect.empty:
        mask[rect.rows, rect.columns] = 0 if erase else 255
    return rect
