"""How richly features vary inside a region and outside: the eigenvalues of their covariances
(region-of-interest-aware diffusion, eqs. 6.3, 6.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mattebox_backend.metrics.errors import MetricInputError


@dataclass(frozen=True, slots=True, eq=False)
class RegionSpectra:
    """Eigenvalues (C,) float64 of Σ_roi and Σ_bg, largest first; None where fewer than two places are inside,
    or outside.
    """

    region: NDArray[np.float64] | None
    background: NDArray[np.float64] | None


def region_spectra(features: NDArray[Any], mask: NDArray[Any]) -> RegionSpectra:
    """Spectra of features (F, C, h, w), latents of a noise level or what a layer made of them.

    mask: (F, h, w) in [0, 1]; a place counts as the region's from a half up. Every place of every frame is
    one sample of C values; covariances are means over samples (divided by their number).
    """
    if mask.shape != (features.shape[0], *features.shape[2:]):
        raise MetricInputError(
            f"The mask has size {mask.shape}, the features {features.shape}; give one mask per frame at the "
            "features' size."
        )
    samples = np.moveaxis(features, 1, -1).reshape(-1, features.shape[1]).astype(np.float64)
    inside = np.asarray(mask).ravel() >= 0.5
    return RegionSpectra(spectrum(samples[inside]), spectrum(samples[~inside]))


def spectrum(samples: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Eigenvalues (C,) of the covariance of samples (n, C), largest first; None for fewer than two."""
    if len(samples) < 2:
        return None
    covariance = np.cov(samples, rowvar=False, bias=True).reshape(samples.shape[1], samples.shape[1])
    return np.asarray(np.linalg.eigvalsh(covariance)[::-1].clip(min=0), np.float64)


def spread(eigenvalues: NDArray[np.float64]) -> float:
    """How many directions carry the variation, 1 to C: the participation ratio `(Σλ)² / Σλ²` of a spectrum;
    1 where nothing varies.
    """
    total = float(np.square(eigenvalues).sum())
    return float(eigenvalues.sum() ** 2 / total) if total > 0 else 1.0
