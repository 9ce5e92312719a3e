"""How much an edit depends on the exact mask (region-of-interest-aware diffusion, eq. 6.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mattebox_backend.masks.algebra import Mask as RegionMask
from mattebox_backend.masks.modes import grow
from mattebox_backend.metrics.boundary import boundary_band
from mattebox_backend.metrics.errors import MetricInputError
from mattebox_backend.metrics.fidelity import Frames, Mask, check_clips


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """S as a whole, and what the pixels near the masks' borders and those away from them contribute:
    `overall² = near² + away²`. Values of frames and masks in [0, 1]; None when the masks are equal.
    """

    overall: float
    near: float
    away: float


def mask_sensitivity(
    frames: Frames, perturbed: Frames, mask: Mask, perturbed_mask: Mask, width: int = 4
) -> Sensitivity | None:
    """`S = ‖x(M + δM) − x(M)‖₂ / ‖δM‖₂` of the results of one edit under two masks.

    Near is all within `width` pixels of either mask's edge, and all that lies between the two edges: there a
    perturbed mask says itself that other pixels are to change.
    """
    check_clips(frames, perturbed, mask)
    check_clips(frames, perturbed, perturbed_mask)
    if width < 1:
        raise MetricInputError(f"A border of {width} pixels holds nothing; use at least 1.")
    one, other = mask.astype(bool), perturbed_mask.astype(bool)
    moved = float(np.sqrt(np.count_nonzero(one != other)))
    if moved == 0:
        return None
    change = np.square((frames.astype(np.float32) - perturbed) / 255).sum(axis=-1, dtype=np.float64)
    near = (one != other) | boundary_band(one, width) | boundary_band(other, width)
    return Sensitivity(
        float(np.sqrt(change.sum())) / moved,
        float(np.sqrt(change[near].sum())) / moved,
        float(np.sqrt(change[~near].sum())) / moved,
    )


def perturbed_masks(masks: RegionMask, pixels: int) -> RegionMask:
    """Masks (F, H, W) uint8 dilated by `pixels`, or eroded where it is negative; the frame's border is no
    edge.
    """
    if pixels >= 0:
        return np.stack([grow(mask, pixels) for mask in masks])
    return np.stack([255 - grow(255 - mask, -pixels) for mask in masks])
