"""Masks at the sizes that a backbone works in: working size, latents, attention tokens."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.masks.algebra import Mask


def resize_masks(masks: Mask, height: int, width: int) -> Mask:
    """Masks (F, H, W) uint8 at another size, by area: (F, height, width) uint8."""
    if masks.shape[1:] == (height, width):
        return masks
    return np.rint(area_coverage(masks, height, width) * 255).astype(np.uint8)


def area_coverage(masks: Mask, height: int, width: int) -> NDArray[np.float32]:
    """The share of every cell that a mask covers.

    masks: (F, H, W) uint8. Returns (F, height, width) float32 in [0, 1]. Cells need not divide the frame
    evenly. Taken at every size that a network works in, it is the hierarchical mask pyramid of
    region-of-interest-aware diffusion (eq. 3.12), its kernel K_s the cell itself.
    """
    frames = [_area_resize(np.asarray(mask, np.float32) / np.float32(255), height, width) for mask in masks]
    return np.clip(np.stack(frames), 0, 1)


def _area_resize(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    # OpenCV averages by area only where both axes shrink; where an axis grows its area filter repeats pixels.
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def token_owners(
    coverage: NDArray[np.float32], visible: NDArray[np.float32], share: float = 0.5
) -> NDArray[np.int64]:
    """Give every token of every frame exactly one owner.

    coverage: (K, F, h, w) float in [0, 1], how much of a token each region covers, bottom-most region
    first; visible: the same, without what regions above hide. Returns (F, h, w) int64: 0 is the background,
    k + 1 region k.

    The top-most region that covers at least half of a token owns it; else whichever shows most of it. The
    background gives way to the region that shows most of a token when that is `share` (in (0, ½]) of it.
    A region that owns nothing in a frame where it shows gets the token it shows most of.
    """
    rest = np.clip(1 - visible.sum(axis=0), 0, 1)
    candidates = np.concatenate([rest[None], visible])
    # The last of equals wins, so that of two equal claims the upper region's counts.
    owners = len(candidates) - 1 - np.argmax(candidates[::-1], axis=0)
    for region, covered in enumerate(coverage):
        owners[(covered >= 0.5) & (visible[region] > 0)] = region + 1
    shown_most = len(visible) - np.argmax(visible[::-1], axis=0)
    owners = np.where((owners == 0) & (visible.max(axis=0) >= share), shown_most, owners)
    for region, shown in enumerate(visible):
        _grant_largest_token(owners, shown, region + 1)
    return np.asarray(owners, np.int64)


def _grant_largest_token(owners: NDArray[np.int64], shown: NDArray[np.float32], label: int) -> None:
    for frame in range(len(owners)):
        if shown[frame].max(initial=0) > 0 and not (owners[frame] == label).any():
            owners[frame].flat[int(np.argmax(shown[frame]))] = label


def whole_cells(known: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """The cells of which every pixel is known: (F, height, width), of (F, H, W)."""
    missing = area_coverage(np.where(known, 0, 255).astype(np.uint8), height, width)
    return np.asarray(missing == 0)
