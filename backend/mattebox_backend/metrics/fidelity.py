"""How near two clips are inside a mask: ℓ1, ℓ2, PSNR, SSIM, and the share of pixels that are exactly equal.

A network's judgement of how alike they look is :mod:`mattebox_backend.metrics.perceptual`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.metrics.errors import MetricInputError

Frames = NDArray[np.uint8]
Mask = NDArray[Any]

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def masked_l1(frames: Frames, reference: Frames, mask: Mask) -> float | None:
    """Mean absolute difference over all channels of the pixels in ``mask``, values in [0, 1] (region-of-
    interest-aware diffusion, section 6); None when the mask is empty.
    """
    difference = _differences(frames, reference, mask)
    return None if difference is None else float(np.abs(difference).mean())


def masked_l2(frames: Frames, reference: Frames, mask: Mask) -> float | None:
    """Root mean squared difference over all channels of the pixels in ``mask``, values in [0, 1]; None when
    the mask is empty.
    """
    difference = _differences(frames, reference, mask)
    return None if difference is None else float(np.sqrt(np.square(difference).mean()))


def _differences(frames: Frames, reference: Frames, mask: Mask) -> NDArray[np.float64] | None:
    """Of the pixels in ``mask``, (n, 3) in [-1, 1]; None when it is empty."""
    check_clips(frames, reference, mask)
    inside = mask.astype(bool)
    if not inside.any():
        return None
    return np.asarray((frames[inside].astype(np.float64) - reference[inside]) / 255)


def masked_psnr(frames: Frames, reference: Frames, mask: Mask) -> float | None:
    """PSNR in dB over all channels of the pixels in ``mask``; infinite when they are equal, None when the
    mask is empty.
    """
    check_clips(frames, reference, mask)
    inside = mask.astype(bool)
    if not inside.any():
        return None
    error = float(np.mean((frames[inside].astype(np.float64) - reference[inside]) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


def masked_ssim(frames: Frames, reference: Frames, mask: Mask) -> float | None:
    """Mean SSIM (Wang et al. 2004; Gaussian window, sigma 1.5, per channel) over the pixels in ``mask``; None
    when it is empty.
    """
    check_clips(frames, reference, mask)
    inside = mask.astype(bool)
    if not inside.any():
        return None
    total, count = 0.0, 0
    for one, other, chosen in zip(frames, reference, inside, strict=True):
        if chosen.any():
            total += float(_ssim_map(one, other)[chosen].sum())
            count += int(chosen.sum()) * frames.shape[-1]
    return total / count


def exact_share(frames: Frames, reference: Frames, mask: Mask) -> float | None:
    """Share of the pixels in ``mask`` whose channels are all equal in both clips, in [0, 1]; None when the
    mask is empty.
    """
    check_clips(frames, reference, mask)
    inside = mask.astype(bool)
    if not inside.any():
        return None
    return float(np.all(frames[inside] == reference[inside], axis=-1).mean())


def check_clips(frames: Frames, reference: Frames, mask: Mask) -> None:
    """Raise :class:`MetricInputError` unless both clips have one size and the mask fits them."""
    if frames.shape != reference.shape:
        raise MetricInputError(
            f"The clips differ in size: {frames.shape} and {reference.shape}; compare clips of one size."
        )
    if mask.shape != frames.shape[:3]:
        raise MetricInputError(
            f"The mask has size {mask.shape}, the clip {frames.shape[:3]}; give one mask per frame."
        )


def _ssim_map(one: Frames, other: Frames) -> NDArray[np.float64]:
    a, b = one.astype(np.float64), other.astype(np.float64)
    mean_a, mean_b = _window(a), _window(b)
    var_a = _window(a * a) - mean_a**2
    var_b = _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    return np.asarray(top / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)))


def _window(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5))
