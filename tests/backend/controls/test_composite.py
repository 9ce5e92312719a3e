"""The composite keeps what was not masked, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mattebox_backend.controls.composite import composite, fit


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_where_the_matte_is_nothing_the_source_is_untouched(dtype: Any, channels: int) -> None:
    rng = np.random.default_rng(1)
    source = rng.integers(0, np.iinfo(dtype).max, (20, 30, channels), dtype, endpoint=True)
    matte = np.zeros((20, 30), np.float32)
    matte[5:9, 5:9] = rng.random((4, 4), np.float32)
    matte[6, 6] = 1
    edited = rng.random((10, 15, 3), np.float32)
    result = composite(source, edited, matte)
    assert result.dtype == dtype
    assert np.array_equal(result[matte == 0], source[matte == 0])
    top = np.iinfo(dtype).max
    assert np.array_equal(result[6, 6, :3], np.rint(fit(edited, 20, 30)[6, 6] * top).astype(dtype))
    assert np.array_equal(result[..., 3:], source[..., 3:]), "alpha is the source's"


def test_half_a_matte_is_half_of_each() -> None:
    source = np.full((2, 2, 3), 100, np.uint8)
    result = composite(source, np.zeros((2, 2, 3), np.float32), np.full((2, 2), 0.5, np.float32))
    assert (result == 50).all()


def test_without_a_matte_the_edited_frame_is_everywhere() -> None:
    source = np.full((4, 4, 3), 100, np.uint8)
    assert (composite(source, np.ones((2, 2, 3), np.float32), None) == 255).all()


def test_the_source_is_not_written_to() -> None:
    source = np.full((2, 2, 3), 9, np.uint8)
    composite(source, np.ones((2, 2, 3), np.float32), np.ones((2, 2), np.float32))
    assert (source == 9).all()


def test_resizing_stays_within_bounds() -> None:
    checks = np.indices((8, 8)).sum(0)[..., None].repeat(3, -1).astype(np.float32) % 2
    grown = fit(checks, 31, 33)
    assert grown.shape == (31, 33, 3)
    assert grown.min() >= 0
    assert grown.max() <= 1
