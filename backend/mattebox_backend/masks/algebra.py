"""The algebra of soft masks: `uint8` arrays of any one shape, 0 = leave, 255 = edit.

The operations are those of fuzzy sets, so hard masks behave as sets do and soft edges stay soft.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]

INSIDE = 128
"""A pixel belongs to a hard mask from this value up."""


def union(first: Mask, *others: Mask) -> Mask:
    """Everything that any of the masks holds."""
    return reduce(np.maximum, others, first)


def intersect(first: Mask, *others: Mask) -> Mask:
    """Only what all of the masks hold."""
    return reduce(np.minimum, others, first)


def invert(mask: Mask) -> Mask:
    """What the mask leaves out."""
    return np.subtract(np.uint8(255), mask, dtype=np.uint8)


def subtract(mask: Mask, *others: Mask) -> Mask:
    """The mask without what any of the others holds."""
    return intersect(mask, *(invert(other) for other in others))


def hard(mask: Mask) -> NDArray[np.uint8]:
    """The mask as 0 and 1, cut at half."""
    return (mask >= INSIDE).astype(np.uint8)
