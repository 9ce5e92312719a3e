"""What of the clip's picture the backbone works on: all of it, or the part around the regions (region-focused
computation; region-of-interest-aware diffusion, table 7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.backbones.protocol import WorkingSize
from mattebox_backend.controls.composite import Frame
from mattebox_backend.masks import RegionStack, crop_regions, resize_masks
from mattebox_backend.masks.algebra import Mask


@dataclass(frozen=True, slots=True)
class View:
    """A part of the picture at working size; where it is the whole, `size` equals `whole`.

    size: of the part, what the backbone is given. left, top: where it begins, in pixels at working size.
    """

    whole: WorkingSize
    size: WorkingSize
    left: int = 0
    top: int = 0

    @property
    def everything(self) -> bool:
        """Whether the part is the whole."""
        return self.size == self.whole

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """(left, top, width, height) in pixels at working size; None for the whole."""
        return None if self.everything else (self.left, self.top, self.size.width, self.size.height)

    def take(self, frame: Frame) -> NDArray[np.uint8]:
        """A source frame as the backbone takes it: (h, w, 3) uint8 of the part at working size."""
        return self._part(_fit(frame, self.whole))

    def take_mask(self, mask: Mask) -> Mask:
        """A mask (H, W) uint8 of the source, by area: (h, w) of the part at working size."""
        return np.ascontiguousarray(
            self._part(resize_masks(mask[None], self.whole.height, self.whole.width)[0])
        )

    def put(self, edited: NDArray[np.float32], source: Frame) -> NDArray[np.float32]:
        """The part (h, w, 3) float32 in [0, 1] in its place in the source frame, at working size."""
        if self.everything:
            return edited
        frame = _fit(source, self.whole).astype(np.float32) / np.float32(255)
        self._part(frame)[...] = edited
        return frame

    def regions(self, stack: RegionStack) -> RegionStack:
        """The regions as they lie in the part."""
        if self.everything:
            return stack
        part = slice_of(self.top, self.size.height), slice_of(self.left, self.size.width)
        return crop_regions(stack, self.whole.height, self.whole.width, part)

    def matte(self, height: int, width: int) -> NDArray[np.float32] | None:
        """Where anything was computed at all, at the source's size: 1 in the part, 0 elsewhere; None where it
        is the whole.
        """
        if self.everything:
            return None
        matte = np.zeros((height, width), np.float32)
        rows, columns = height / self.whole.height, width / self.whole.width
        top, left = math.ceil(self.top * rows), math.ceil(self.left * columns)
        bottom = math.floor((self.top + self.size.height) * rows)
        right = math.floor((self.left + self.size.width) * columns)
        matte[top:bottom, left:right] = 1
        return matte

    def _part(self, frame: NDArray[Any]) -> NDArray[Any]:
        return frame[slice_of(self.top, self.size.height), slice_of(self.left, self.size.width)]


def focus(stack: RegionStack, whole: WorkingSize, unit: WorkingSize, margin: float) -> View:
    """The part around all regions of all frames, one for the whole clip, so that nothing moves in it that did
    not move in the clip.

    unit: the smallest picture that the backbone works on; sides are multiples of its sides. margin: at least
    so much lies around the regions and their feathers, as a share of the picture's longer side. Without a
    region that shows anywhere, or where the part would be as large, it is the whole.
    """
    spans = [_span(stack, axis) for axis in (0, 1)]
    if None in spans:
        return View(whole, whole)
    around = margin * max(whole.width, whole.height)
    (top, height), (left, width) = (
        _stretch(span, source, side, step, around)
        for span, source, side, step in zip(
            spans,
            stack.masks[0].shape[1:],
            (whole.height, whole.width),
            (unit.height, unit.width),
            strict=True,
        )
        if span is not None
    )
    size = WorkingSize(
        width,
        height,
        width * whole.latent_width // whole.width,
        height * whole.latent_height // whole.height,
    )
    return View(whole, size, left, top)


def slice_of(start: int, length: int) -> slice:
    """`length` places from `start`."""
    return slice(start, start + length)


def _span(stack: RegionStack, axis: int) -> tuple[int, int] | None:
    """The rows (axis 0) or columns (axis 1) at source size that regions and feathers reach: first, past the
    last.
    """
    found: list[tuple[int, int]] = []
    for region, masks in zip(stack.regions, stack.masks, strict=True):
        covered = masks.any(axis=(0, 2 - axis))
        if covered.any():
            places = np.flatnonzero(covered)
            found.append((int(places[0]) - region.feather, int(places[-1]) + 1 + region.feather))
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def _stretch(span: tuple[int, int], source: int, side: int, step: int, around: float) -> tuple[int, int]:
    """Start and length at working size of what holds a span at source size: a multiple of `step` pixels."""
    low = max(0.0, span[0] * side / source - around)
    high = min(float(side), span[1] * side / source + around)
    length = min(side, math.ceil((high - low) / step) * step)
    start = round((low + high - length) / 2)
    return min(max(0, start), side - length), length


def _fit(frame: Frame, size: WorkingSize) -> NDArray[np.uint8]:
    """A source frame at working size: (H, W, 3) uint8."""
    pixels: NDArray[Any] = frame[..., :3]
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels.astype(np.float32) / 257).astype(np.uint8)
    if pixels.shape[:2] == (size.height, size.width):
        return np.asarray(pixels, np.uint8)
    shrinks = pixels.shape[0] >= size.height and pixels.shape[1] >= size.width
    filter_ = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    contiguous = np.ascontiguousarray(pixels)
    return np.asarray(cv2.resize(contiguous, (size.width, size.height), interpolation=filter_), np.uint8)
