"""Masks behave as sets do."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mattebox_backend.masks import intersect, invert, subtract, union
from numpy.typing import NDArray

Mask = NDArray[np.uint8]


def masks() -> st.SearchStrategy[Mask]:
    return arrays(np.uint8, (3, 4))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(masks(), masks(), masks())
def test_the_laws_of_sets_hold_for_soft_masks(a: Mask, b: Mask, c: Mask) -> None:
    assert np.array_equal(union(a, b), union(b, a))
    assert np.array_equal(union(a, union(b, c)), union(a, b, c))
    assert np.array_equal(intersect(a, intersect(b, c)), intersect(a, b, c))
    assert np.array_equal(invert(invert(a)), a)
    assert np.array_equal(invert(union(a, b)), intersect(invert(a), invert(b)))
    assert np.array_equal(intersect(a, union(b, c)), union(intersect(a, b), intersect(a, c)))
    assert np.array_equal(subtract(a, b, c), intersect(a, invert(union(b, c))))


def test_hard_masks_are_sets_of_pixels() -> None:
    a = np.array([[255, 255, 0, 0]], np.uint8)
    b = np.array([[255, 0, 255, 0]], np.uint8)
    assert union(a, b).tolist() == [[255, 255, 255, 0]]
    assert intersect(a, b).tolist() == [[255, 0, 0, 0]]
    assert subtract(a, b).tolist() == [[0, 255, 0, 0]]
    assert invert(a).tolist() == [[0, 0, 255, 255]]
