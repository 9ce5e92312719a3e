"""What happens along the edge of a region."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.metrics.errors import MetricInputError
from mattebox_backend.metrics.fidelity import Frames, Mask, check_clips


def boundary_band(mask: Mask, width: int = 2) -> NDArray[np.bool_]:
    """Pixels at most ``width`` pixels from the edge of ``mask`` (F, H, W), on both sides; all False where the
    mask has no edge.
    """
    if width < 1:
        raise MetricInputError(f"A boundary band of {width} pixels holds nothing; use at least 1.")
    inside = mask.astype(bool).astype(np.uint8)
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    return np.stack([cv2.dilate(m, window) != cv2.erode(m, window) for m in inside])


def boundary_error(frames: Frames, reference: Frames, mask: Mask, width: int = 2) -> float | None:
    """E_bound (ROI-aware diffusion, eq. 6.2): mean squared error over the boundary band, values in [0, 1];
    None when there is no edge.
    """
    check_clips(frames, reference, mask)
    band = boundary_band(mask, width)
    if not band.any():
        return None
    difference = (frames[band].astype(np.float32) - reference[band]) / 255
    return float(np.mean(np.sum(np.square(difference), axis=-1)))
