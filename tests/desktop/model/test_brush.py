"""The brush's shape."""

from __future__ import annotations

import numpy as np
import pytest
from mattebox_desktop.model.brush import Brush


def blank() -> np.ndarray:
    return np.zeros((200, 300), np.uint8)


@pytest.mark.parametrize("size", [3, 10, 24, 80, 150])
def test_hard_dab_covers_the_area_of_its_circle(size: float) -> None:
    mask = blank()
    Brush(size, 1.0).draw(mask, (150.5, 100.5), (150.5, 100.5), erase=False)
    assert mask.sum() / 255 == pytest.approx(np.pi * size**2 / 4, rel=0.06)


def test_only_the_reported_rectangle_changes() -> None:
    mask = np.full((200, 300), 7, np.uint8)
    rect = Brush(20, 0.3).draw(mask, (50, 60), (90, 80), erase=False)
    outside = mask.copy()
    outside[rect.rows, rect.columns] = 7
    assert (outside == 7).all()
    assert (mask != 7).any()


def test_stroke_has_no_gaps_or_ripples_along_its_edge() -> None:
    mask = blank()
    Brush(30, 1.0).draw(mask, (40, 100.5), (260, 100.5), erase=False)
    middle = mask[:, 60:240]
    assert np.ptp(middle.sum(axis=0, dtype=int)) < 2 * 255


def test_segments_join_to_one_stroke() -> None:
    whole, parts = blank(), blank()
    brush = Brush(12, 1.0)
    brush.draw(whole, (20, 20), (220, 20), erase=False)
    for x in range(20, 220, 10):
        brush.draw(parts, (x, 20), (x + 10, 20), erase=False)
    assert (whole >= 128).sum() == pytest.approx((parts >= 128).sum(), rel=0.02)


def test_soft_brush_falls_off_and_crossing_does_not_build_up() -> None:
    mask = blank()
    brush = Brush(60, 0.0)
    brush.draw(mask, (150, 100), (150, 100), erase=False)
    once = mask.copy()
    brush.draw(mask, (150, 100), (150, 100), erase=False)
    np.testing.assert_array_equal(mask, once)
    profile = once[100, 150:182].astype(int)
    assert profile[0] > 240
    assert (np.diff(profile) <= 0).all()
    assert profile[-1] == 0


def test_erasing_undoes_a_dab_of_the_same_brush() -> None:
    mask = blank()
    brush = Brush(40, 1.0)
    brush.draw(mask, (100, 100), (100, 100), erase=False)
    brush.draw(mask, (100, 100), (100, 100), erase=True)
    assert mask.max() <= 128  # the half-covered rim is what stays


@pytest.mark.parametrize("at", [(-100, -100), (0, 0), (299.9, 199.9), (1000, 50)])
def test_dab_over_the_edge_is_clipped(at: tuple[float, float]) -> None:
    mask = blank()
    rect = Brush(50, 0.5).draw(mask, at, at, erase=False)
    assert 0 <= rect.left <= rect.right <= 300
    assert 0 <= rect.top <= rect.bottom <= 200


def test_size_and_hardness_stay_in_their_bounds() -> None:
    assert Brush().resized(5000).size == 1000
    assert Brush().resized(0).size == 1
    assert Brush().hardened(3).hardness == 1
