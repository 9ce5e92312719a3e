"""How far apart two clips look to a scorer's vision tower, inside a mask.

The formula is that of LPIPS (Zhang et al., 2018, eq. 1) without learnt weights, over the states of a CLIP
instead of AlexNet's: the numbers are no LPIPS, and compare only under one scorer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.metrics.fidelity import Frames, Mask, check_clips

if TYPE_CHECKING:
    from mattebox_backend.metrics.scorer import Scorer


def feature_distance(scorer: Scorer, frames: Frames, reference: Frames, mask: Mask) -> float | None:
    """The squared difference of the unit-normalised states, summed over the vision tower's layers; the mean
    over the places in ``mask``, each counted by the share of it that the mask covers.

    frames, reference: (F, H, W, 3) uint8. mask: (F, H, W). Attention carries what is outside the mask into
    the places inside: both clips are shown with the reference's pixels there, so that equal pixels in the
    mask are a distance of 0. None when the mask is empty. Raises :class:`MetricInputError` for clips that
    cannot be compared.
    """
    check_clips(frames, reference, mask)
    shown = [n for n, inside in enumerate(mask) if inside.any()]
    if not shown:
        return None
    inside = mask[shown].astype(bool)
    pasted = np.where(inside[..., None], frames[shown], reference[shown])
    apart = place_distances(scorer.layers(list(pasted)), scorer.layers(list(reference[shown])))
    weights = np.stack([cover(one, *apart.shape[1:]) for one in inside])
    return float((apart * weights).sum() / weights.sum())


def place_distances(one: list[NDArray[np.float64]], other: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(N, h, w): the squared distance of the unit-normalised states of every place, summed over layers of
    (N, h, w, C) each.
    """
    layers = [np.sum((_unit(a) - _unit(b)) ** 2, axis=-1) for a, b in zip(one, other, strict=True)]
    return np.asarray(np.sum(layers, axis=0), np.float64)


def cover(inside: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.float64]:
    """The share of every cell of a grid of ``rows`` × ``columns`` that a mask (H, W) covers, in [0, 1]."""
    shares = cv2.resize(inside.astype(np.float64), (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(shares, np.float64)


def _unit(states: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(states / (np.linalg.norm(states, axis=-1, keepdims=True) + 1e-10))
