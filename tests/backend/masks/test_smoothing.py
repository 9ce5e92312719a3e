"""Smoothed masks against the linear system written out, cell by cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mattebox_backend.masks import matte, smooth_mask, smooth_matte
from numpy.typing import NDArray


def reference(mask: NDArray[Any], alpha: float, neighbours: int) -> NDArray[np.float64]:
    """Eqs. 4.11 and 4.12 as a dense system, one equation per cell; one over the border is mirrored."""
    height, width = mask.shape
    system = np.eye(height * width)
    for row in range(height):
        for column in range(width):
            here = row * width + column
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    far = abs(down) + abs(right)
                    if far == 0 or (neighbours == 4 and far == 2):
                        continue
                    there_row = min(max(row + down, 0), height - 1)
                    there_column = min(max(column + right, 0), width - 1)
                    system[here, there_row * width + there_column] -= alpha
                    system[here, here] += alpha
    return np.linalg.solve(system, mask.astype(np.float64).ravel()).reshape(height, width)


@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("shape", [(6, 8), (7, 5), (1, 1), (1, 6), (4, 9), (9, 1)])
@pytest.mark.parametrize("alpha", [0.3, 4.0, 100.0])
def test_the_equation_is_solved(shape: tuple[int, int], alpha: float, neighbours: Any) -> None:
    mask = (np.random.default_rng(shape[0]).random(shape) > 0.6).astype(np.float32)
    found = smooth_mask(mask, alpha, neighbours)
    np.testing.assert_allclose(found, reference(mask, alpha, neighbours), atol=1e-6)


def test_a_large_mask_satisfies_the_equation_and_even_and_odd_sizes_agree() -> None:
    mask = np.zeros((120, 202))
    mask[30:70, 50:120] = 1
    smooth = smooth_mask(mask, 9.0).astype(np.float64)
    padded = np.pad(smooth, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    np.testing.assert_allclose(smooth - 9 * (around - 4 * smooth), mask, atol=1e-5)
    # One row and column more, far away from the mask, change next to nothing.
    odd = smooth_mask(np.pad(mask, [(0, 1), (0, 1)]), 9.0)
    np.testing.assert_allclose(odd[:-1, :-1], smooth, atol=1e-4)


def test_the_edge_falls_off_over_the_square_root_of_alpha() -> None:
    mask = np.zeros((4, 400))
    mask[:, :200] = 1
    row = smooth_mask(mask, 25.0)[0]
    assert row[199] > 0.5 > row[200]
    assert row[220] / row[225] == pytest.approx(np.exp(5 / 5.0), rel=0.02)


def test_nothing_to_smooth_stays_as_it_is() -> None:
    mask = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    assert np.array_equal(smooth_mask(mask, 0), mask)
    assert not smooth_mask(np.zeros((5, 6)), 2.0).any()
    np.testing.assert_allclose(smooth_mask(np.ones((5, 7)), 2.0), 1, atol=1e-6)
    assert smooth_mask(mask, 3.0).mean() == pytest.approx(mask.mean(), abs=1e-6)
    with pytest.raises(ValueError, match="0 or more"):
        smooth_mask(mask, -1)


@pytest.mark.parametrize("feather", [0, 5])
def test_a_smoothed_matte_is_exactly_zero_beyond_the_feather(feather: int) -> None:
    mask = np.zeros((41, 50), np.uint8)
    mask[10:30, 12:34] = 255
    plain = matte(mask, feather)
    soft = smooth_matte(mask / 255, plain, 3.0)
    assert np.array_equal(soft > 0, plain > 0)
    inside = mask > 0
    np.testing.assert_allclose(soft[inside], smooth_mask(mask / 255, 9.0)[inside], atol=1e-6)
    assert (soft <= plain).all()
    assert 0.3 < soft[20, 12] < 0.8
    assert np.array_equal(smooth_matte(mask / 255, plain, 0), plain)
