"""Layout without masks: tokens that look at the same things belong together (ST-Modulator, section 3.1,
figure 3 (b), and appendix B).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_ATTEMPTS = 5
_ENOUGH = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-5)


def cluster(features: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int32]:
    """k-means over features (N, d): the cluster of each, (N,) int32 in [0, count).

    The same features and seed give the same clusters. Raises ValueError for more clusters than features.
    """
    if count > len(features):
        raise ValueError(f"{len(features)} tokens cannot make {count} clusters.")
    cv2.setRNGSeed(seed % 2**31)
    labels = np.zeros((len(features), 1), np.int32)
    given = np.ascontiguousarray(features, np.float32)
    cv2.kmeans(given, count, labels, _ENOUGH, _ATTEMPTS, cv2.KMEANS_PP_CENTERS)
    return labels[:, 0]


def label_masks(labels: NDArray[np.int32], count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Label maps (F, h, w) of tokens as masks (count, F, height, width) uint8 of pixels, 0 or 255.

    Every pixel belongs to the label whose share of the tokens around it, weighed bilinearly, is largest: so
    the masks part each frame, and their borders run smoothly between tokens.
    """
    masks = np.zeros((count, len(labels), height, width), np.uint8)
    for frame, of_frame in enumerate(labels):
        shares = np.stack(
            [
                cv2.resize(
                    (of_frame == label).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
                )
                for label in range(count)
            ]
        )
        owners = shares.argmax(axis=0)
        for label in range(count):
            masks[label, frame][owners == label] = 255
    return masks
