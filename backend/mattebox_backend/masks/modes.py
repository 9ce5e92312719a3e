"""Mask modes: what is made of a region's mask before anything uses it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.edit import MaskMode
from mattebox_backend.masks.algebra import Mask, hard

_WIDEST_DISC = 12
"""Pixels of radius up to which a mask is dilated by a disc, whose cost grows with its area."""


def shape_mask(mask: Mask, mode: MaskMode, dilation: int = 0) -> Mask:
    """One frame's mask in the shape that `mode` asks for.

    mask: (H, W) uint8. `TIGHT` leaves it as drawn; `ELLIPSE` and `BOX` cover every connected component with
    its fitted ellipse or its bounding box (in union with the component, so nothing that was drawn is lost);
    `DILATED` grows the drawn mask. In every mode but `TIGHT` the outcome grows by `dilation` pixels, 0 or
    more. An empty mask stays empty.
    """
    if mode is MaskMode.TIGHT or not mask.any():
        return mask
    if mode is MaskMode.ELLIPSE:
        mask = np.maximum(mask, _cover_components(mask, _draw_ellipse))
    elif mode is MaskMode.BOX:
        mask = np.maximum(mask, _cover_components(mask, _draw_box))
    return grow(mask, dilation)


def grow(mask: Mask, pixels: int) -> Mask:
    """The mask widened by a disc of `pixels` radius. Soft edges keep their ramp where the radius is small,
    and end in one of a pixel where it is wide.
    """
    if pixels <= 0:
        return mask
    if pixels <= _WIDEST_DISC:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
        return np.asarray(cv2.dilate(mask, disc), np.uint8)
    inside = hard(mask)
    if not inside.any():
        return mask
    # The distance to the mask costs the same for every radius.
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.maximum(mask, np.clip((pixels + 1 - away) * 255, 0, 255).astype(np.uint8))


def _cover_components(mask: Mask, draw: object) -> Mask:
    count, labels = cv2.connectedComponents(hard(mask), connectivity=8)
    covered = np.zeros_like(mask)
    for label in range(1, count):
        component = (labels == label).astype(np.uint8)
        draw(covered, component)  # type: ignore[operator]
    return covered


def _draw_box(onto: Mask, component: NDArray[np.uint8]) -> None:
    x, y, width, height = cv2.boundingRect(component)
    onto[y : y + height, x : x + width] = 255


def _draw_ellipse(onto: Mask, component: NDArray[np.uint8]) -> None:
    contours, _ = cv2.findContours(component, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(contours)
    if len(points) < 5:  # an ellipse has five unknowns; so few points are their own best cover
        onto[component > 0] = 255
        return
    (x, y), (width, height), angle = cv2.fitEllipse(points)
    if not np.isfinite((x, y, width, height, angle)).all() or max(width, height) > 4 * sum(onto.shape):
        _draw_box(onto, component)  # points on one line fit no ellipse
        return
    cv2.ellipse(onto, ((x, y), (width + 1, height + 1), angle), color=255, thickness=cv2.FILLED)
