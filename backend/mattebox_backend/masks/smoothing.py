"""Smoothed masks: the solution of `M̃ = M + α·ΔM̃` on the grid (region-of-interest-aware diffusion, eqs. 4.11,
4.12), exact but for rounding.

The Laplacian with reflecting borders is diagonal in the basis of cosines, so that the solution is one
transform there, a division, and one back.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Neighbours = Literal[4, 8]


def smooth_mask(
    mask: NDArray[np.floating[Any]], alpha: float, neighbours: Neighbours = 4
) -> NDArray[np.float32]:
    """`(I − α·Δ)⁻¹ M` of one frame.

    mask: (h, w) in [0, 1]. alpha: 0 (the mask as it is) or more, in cells squared: the edge falls off as
    `exp(−distance / √α)` (with 8 neighbours `√(3α)`). neighbours: N(h, w); over the border lies a mirror
    image, each border cell twice. Returns (h, w) float32 in [0, 1], with the mask's own mean.

    The solution is positive *everywhere* where the mask is not empty: who needs cells that are left alone for
    certain has to cut it off, as `smooth_matte` does.
    """
    if alpha < 0:
        raise ValueError(f"A mask cannot be smoothed by α = {alpha}; give 0 or more.")
    plane = np.asarray(mask, np.float64)
    if alpha == 0:
        return np.asarray(plane, np.float32)
    height, width = plane.shape
    along, across = np.arange(height)[:, None] * np.pi / height, np.arange(width) * np.pi / width
    if neighbours == 4:
        laplacian = 2 * np.cos(along) + 2 * np.cos(across) - 4
    else:
        laplacian = (1 + 2 * np.cos(along)) * (1 + 2 * np.cos(across)) - 9
    smooth = _from_cosines(_to_cosines(plane) / (1 - alpha * laplacian))
    return np.asarray(np.clip(smooth, 0, 1), np.float32)


def smooth_matte(
    mask: NDArray[np.floating[Any]], matte: NDArray[np.float32], length: float
) -> NDArray[np.float32]:
    """A matte whose ramp is that of the smoothed mask, and which is still exactly 0 where `matte` is.

    mask, matte: (H, W) in [0, 1], the mask and its matte with the feather outside it; length: √α in pixels.
    The smoothed mask never ends, and the composite must: it is multiplied by the matte, which is 1 on all
    that was masked and falls to 0 over the feather. So the smoothed mask alone decides inside, both outside,
    and nothing changes beyond the feather, bit for bit. Without a feather the smoothed edge ends where the
    mask does. Length 0 gives the matte itself.
    """
    if length == 0:
        return matte
    return np.asarray(matte * smooth_mask(mask, length**2), np.float32)


def _to_cosines(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    if _fast(plane):
        return np.asarray(cv2.dct(plane), np.float64)
    return _cosines(plane.shape[0]) @ plane @ _cosines(plane.shape[1]).T


def _from_cosines(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    if _fast(plane):
        return np.asarray(cv2.idct(plane), np.float64)
    return _cosines(plane.shape[0]).T @ plane @ _cosines(plane.shape[1])


def _fast(plane: NDArray[np.float64]) -> bool:
    """OpenCV's transform knows even lengths alone."""
    return bool(plane.shape[0] % 2 == 0 and plane.shape[1] % 2 == 0)


@lru_cache(maxsize=8)
def _cosines(length: int) -> NDArray[np.float64]:
    """The orthonormal cosine transform (DCT-II) of a length, as a matrix."""
    places = (2 * np.arange(length) + 1) * np.pi / (2 * length)
    matrix = np.cos(np.arange(length)[:, None] * places) * np.sqrt(2 / length)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float64)
