"""Feathers and boundary bands: where an edit fades into the source."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.masks.algebra import Mask, hard
from mattebox_backend.masks.modes import grow


def matte(mask: Mask, feather: int = 0) -> NDArray[np.float32]:
    """How much of the edit each pixel shows.

    mask: (H, W) uint8; feather: the width of the band in pixels, 0 or more. Returns (H, W) float32 in [0, 1].

    The band lies *outside* the mask: all that the user painted is wholly edited, the ramp (a smoothstep of
    the distance to the mask, flat at both ends) falls over `feather` pixels beyond its edge, and everything
    further out is exactly 0, which is where the composite hands out source pixels untouched.
    """
    alpha = np.asarray(mask, np.float32) / np.float32(255)
    if feather <= 0 or not mask.any():
        return alpha
    inside = hard(mask)
    if not inside.any():
        return alpha
    distance = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    nearness = np.clip(1 - np.asarray(distance, np.float32) / np.float32(feather + 1), 0, 1)
    ramp = nearness * nearness * (3 - 2 * nearness)
    return np.asarray(np.maximum(alpha, ramp), np.float32)


def boundary_band(mask: Mask, inside: int, outside: int) -> NDArray[np.bool_]:
    """The pixels within `inside` pixels of the mask's edge on its inner side, or `outside` on its outer side.

    mask: (H, W) uint8. Returns (H, W) bool; an empty mask has no band.
    """
    body = hard(mask)
    outer = grow(body, outside) > 0
    if inside <= 0:
        return np.asarray(outer & (body == 0), np.bool_)
    # The frame's own border is no edge of the region: erosion must not eat in from there.
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * inside + 1, 2 * inside + 1))
    core = np.asarray(cv2.erode(body, disc, borderType=cv2.BORDER_CONSTANT, borderValue=1)) > 0
    return np.asarray(outer & ~core, np.bool_)
