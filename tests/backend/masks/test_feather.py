"""Feathers fade outside the mask; bands lie along its edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mattebox_backend.masks import boundary_band, matte
from numpy.typing import NDArray


def half_plane() -> NDArray[np.uint8]:
    mask = np.zeros((8, 40), np.uint8)
    mask[:, :10] = 255
    return mask


def test_without_a_feather_the_matte_is_the_mask() -> None:
    assert np.array_equal(matte(half_plane()), half_plane() / np.float32(255))


@pytest.mark.parametrize("feather", [1, 4, 12])
def test_the_band_is_as_wide_as_asked_and_outside_it_is_exactly_nothing(feather: int) -> None:
    row = matte(half_plane(), feather)[4]
    assert (row[:10] == 1).all(), "what was painted is wholly edited"
    band = row[10 : 10 + feather]
    assert ((band > 0) & (band < 1)).all()
    assert (row[10 + feather :] == 0).all()


def test_the_ramp_is_smooth_and_falls() -> None:
    row = matte(half_plane(), 20)[4].astype(float)
    steps = np.diff(row[9:32])
    assert (steps <= 0).all()
    assert np.abs(np.diff(steps)).max() < 0.015, "no kink: flat where the band begins and ends"


def test_an_empty_mask_has_neither_matte_nor_band() -> None:
    empty = np.zeros((5, 5), np.uint8)
    assert not matte(empty, 7).any()
    assert not boundary_band(empty, 3, 3).any()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrays(np.uint8, (7, 9)), st.integers(0, 5))
def test_a_matte_holds_at_least_the_mask_and_stays_within_bounds(
    mask: NDArray[np.uint8], feather: int
) -> None:
    alpha = matte(mask, feather)
    assert (alpha >= mask / np.float32(255)).all()
    assert alpha.max() <= 1


def test_the_boundary_band_lies_on_both_sides_of_the_edge_but_not_on_the_frame() -> None:
    columns = boundary_band(half_plane(), 2, 3)[4].nonzero()[0]
    assert columns.tolist() == [8, 9, 10, 11, 12]
    assert boundary_band(half_plane(), 0, 3)[4].nonzero()[0].tolist() == [10, 11, 12]
    assert boundary_band(half_plane(), 2, 0)[4].nonzero()[0].tolist() == [8, 9]
