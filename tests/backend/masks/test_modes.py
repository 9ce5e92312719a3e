"""Mask modes: tight, ellipse, box, dilated."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mattebox_backend.edit import MaskMode
from mattebox_backend.masks import shape_mask
from numpy.typing import NDArray


def two_components() -> NDArray[np.uint8]:
    mask = np.zeros((60, 100), np.uint8)
    cv2.ellipse(mask, (25, 30), (15, 8), 30, 0, 360, 255, cv2.FILLED)
    mask[40:50, 70:90] = 255
    return mask


def test_tight_is_the_mask_as_drawn_whatever_the_dilation() -> None:
    mask = two_components()
    assert shape_mask(mask, MaskMode.TIGHT, 9) is mask


def test_a_box_covers_each_component_and_not_what_lies_between() -> None:
    boxed = shape_mask(two_components(), MaskMode.BOX) > 0
    assert boxed[40:50, 70:90].all()
    rows, columns = np.nonzero(two_components()[:, :50])
    assert boxed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    assert not boxed[:, 50:65].any()


def test_an_ellipse_is_fitted_to_each_component() -> None:
    mask = two_components()
    fitted = shape_mask(mask, MaskMode.ELLIPSE) > 0
    assert fitted[mask > 0].all()
    # An ellipse is its own best fit, up to the line that is drawn around it.
    left = mask[:, :50] > 0
    assert 1.0 <= fitted[:, :50].sum() / left.sum() < 1.25
    assert fitted[39, 80], "the ellipse of a rectangle bulges over its sides"
    assert not fitted[:, 52:60].any()


def test_dilation_grows_by_as_many_pixels() -> None:
    mask = np.zeros((21, 21), np.uint8)
    mask[10, 10] = 255
    grown = shape_mask(mask, MaskMode.DILATED, 4) > 0
    rows, columns = np.nonzero(grown)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 14, 6, 14)
    assert not grown[6, 6], "a disc, not a square"


def test_wide_and_narrow_dilations_are_the_same_disc() -> None:
    mask = np.zeros((101, 101), np.uint8)
    mask[50, 50] = 255
    for pixels in (12, 13, 40):
        grown = shape_mask(mask, MaskMode.DILATED, pixels) >= 128
        rows, columns = np.indices(mask.shape) - 50
        disc = np.hypot(rows, columns) <= pixels + 0.5
        assert grown[50, 50 + pixels]
        assert not grown[50, 50 + pixels + 1]
        assert abs(int(grown.sum()) - int(disc.sum())) < 0.04 * disc.sum()
    assert not shape_mask(np.zeros((9, 9), np.uint8), MaskMode.DILATED, 30).any()


@pytest.mark.parametrize("mode", MaskMode)
@pytest.mark.parametrize("drawn", [[], [(3, 3)], [(3, 3), (3, 4), (3, 5), (3, 6), (3, 7), (3, 8)]])
def test_empty_masks_points_and_lines_are_legal(mode: MaskMode, drawn: list[tuple[int, int]]) -> None:
    mask = np.zeros((9, 12), np.uint8)
    for row, column in drawn:
        mask[row, column] = 255
    shaped = shape_mask(mask, mode, 0)
    assert (shaped[mask > 0] == 255).all()
    assert shaped.any() == mask.any()
    assert shaped.sum() <= 4 * 255 * max(1, len(drawn)) * 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 255])), st.sampled_from(MaskMode))
def test_no_mode_loses_what_was_drawn(mask: NDArray[np.uint8], mode: MaskMode) -> None:
    shaped = shape_mask(mask, mode, 1)
    assert (shaped >= mask).all()
    assert shaped.dtype == np.uint8
