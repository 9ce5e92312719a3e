"""Masks that leave an edit room: what mask-aware LoRA is told of a region (appendices A and B.2)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from mattebox_backend.edit import MaskMode
from mattebox_backend.masks.algebra import Mask, hard
from mattebox_backend.masks.modes import shape_mask
from mattebox_backend.masks.pyramid import area_coverage
from mattebox_backend.masks.stack import RegionStack, reshaped, sparing

COARSE = 7
"""Cells along a side of the grid that a noisy mask has been through (appendix B.2)."""


def boxed(mask: Mask, growth: float) -> Mask:
    """A mask (H, W) with the bounding box of every connected component, each grown on all sides by `growth`
    of its own length there, and the mask itself.
    """
    count, _, found, _ = cv2.connectedComponentsWithStats(hard(mask), connectivity=8)
    covered = mask.copy()
    for left, top, width, height, _ in found[1:count]:
        across, down = round(growth * width), round(growth * height)
        covered[
            max(0, top - down) : top + height + down,
            max(0, left - across) : left + width + across,
        ] = 255
    return covered


def noisy(mask: Mask) -> Mask:
    """A mask (H, W) as a coarse grid sees it: brought down to 7×7 by area, cut at half, and up again. One
    that is too small for the grid keeps the cell that it covers most.
    """
    if not mask.any():
        return mask
    shares = area_coverage(mask[None], COARSE, COARSE)[0]
    cells = (shares >= min(0.5, float(shares.max()))).astype(np.uint8) * np.uint8(255)
    height, width = mask.shape
    return np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def loosened(stack: RegionStack, shape: str, growth: float) -> RegionStack:
    """The stack with every mask in a shape: "box" (grown by `growth`), "ellipse", "noisy", or "as drawn". The
    room that a region is given so ends where another one is drawn.
    """
    shapes: dict[str, Callable[[Mask], Mask]] = {
        "box": lambda mask: boxed(mask, growth),
        "ellipse": lambda mask: shape_mask(mask, MaskMode.ELLIPSE),
        "noisy": noisy,
    }
    return sparing(reshaped(stack, shapes[shape]), stack) if shape in shapes else stack
