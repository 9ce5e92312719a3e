"""What an image-to-video model is told of a clip: the masks of mask-aware LoRA, figure 2 and section 3.3."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Told(StrEnum):
    """Which pixels of a clip are known; the others are to be generated."""

    REGION = "outside the regions"
    """The first frame, and of the others what lies outside the regions (section 3.3.1)."""
    FIRST = "the first frame"
    """What such models are made for: the first frame alone (figure 2, row 1)."""
    NOTHING = "nothing"
    """A mask of zeros (figure 2, row 2)."""
    EVERYTHING = "everything"
    """A mask of ones (figure 2, row 3)."""
    BACKGROUND = "the background"
    """What lies outside the regions, in the first frame too (figure 2, row 4)."""


def known_pixels(told: Told, edited: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The known pixels (F, H, W) of a clip whose regions cover `edited` (F, H, W)."""
    if told is Told.NOTHING:
        return np.zeros_like(edited)
    if told is Told.EVERYTHING:
        return np.ones_like(edited)
    known = ~edited if told in (Told.REGION, Told.BACKGROUND) else np.zeros_like(edited)
    if told is not Told.BACKGROUND:
        known[0] = True
    return known
