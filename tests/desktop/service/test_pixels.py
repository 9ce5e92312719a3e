"""Depth, transparency and size of pictures, against references written out."""

from __future__ import annotations

import numpy as np
import pytest
from mattebox_desktop.service.pixels import Fit, eight_bit, fitted, over

FRAME = np.random.default_rng(1).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def flat(height: int, width: int, *color: int) -> np.ndarray:
    return np.full((height, width, len(color)), color, np.uint8)


def test_sixteen_bit_and_alpha_go() -> None:
    deep = np.full((2, 2, 4), 0xABCD, np.uint16)
    assert np.array_equal(eight_bit(deep), flat(2, 2, 0xAB, 0xAB, 0xAB))
    assert np.array_equal(eight_bit(FRAME), FRAME)


def test_the_frame_shows_where_the_picture_is_transparent() -> None:
    picture = np.dstack([flat(24, 32, 200, 100, 0), np.zeros((24, 32), np.uint8)])
    picture[:, 8:, 3] = 128
    picture[:, 16:, 3] = 255
    placed = over(picture, FRAME)
    assert np.array_equal(placed[:, :8], FRAME[:, :8])
    assert np.array_equal(placed[:, 16:], picture[:, 16:, :3])
    mixed = FRAME[:, 8:16] + (128 / 255) * (np.array([200, 100, 0]) - FRAME[:, 8:16].astype(float))
    assert np.abs(placed[:, 8:16] - mixed).max() <= 1
    assert np.array_equal(over(FRAME, FRAME // 2), FRAME)


def quarters(height: int, width: int) -> np.ndarray:
    """Four flat quarters, so that one sees what was cropped."""
    picture = np.zeros((height, width, 3), np.uint8)
    for row in (0, 1):
        for column in (0, 1):
            rows, columns = slice(row * height // 2, None), slice(column * width // 2, None)
            picture[rows, columns] = (60 + 120 * row, 60 + 120 * column, 90)
    return picture


@pytest.mark.parametrize(
    ("height", "width"), [(48, 64), (12, 16), (24, 90), (90, 32), (7, 5), (1, 1), (1, 400)]
)
def test_cover_fills_the_frame_and_keeps_the_middle(height: int, width: int) -> None:
    made = fitted(flat(height, width, 9, 8, 7), FRAME, Fit.COVER)
    assert np.array_equal(made, flat(24, 32, 9, 8, 7)), "no pixel of the frame is left"
    if height > 4 and width > 4:
        made = fitted(quarters(height - height % 2, width - width % 2), FRAME, Fit.COVER)
        assert np.abs(made[12:, 16:].astype(int).mean(axis=(0, 1)) - (180, 180, 90)).max() < 12
        assert np.abs(made[:12, :16].astype(int).mean(axis=(0, 1)) - (60, 60, 90)).max() < 12


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (48, 64, (0, 24), (0, 32)),
        (24, 64, (6, 18), (0, 32)),
        (48, 32, (0, 24), (8, 24)),
        (3, 4, (0, 24), (0, 32)),
        (1, 400, (11, 12), (0, 32)),
    ],
)
def test_contain_keeps_the_frame_around(
    height: int, width: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    made = fitted(flat(height, width, 9, 8, 7), FRAME, Fit.CONTAIN)
    expected = FRAME.copy()
    expected[slice(*rows), slice(*columns)] = (9, 8, 7)
    assert np.array_equal(made, expected)


def test_transparency_is_scaled_without_a_rim_of_what_was_hidden() -> None:
    picture = flat(48, 64, 0, 255, 0, 0)  # bright green that is not seen
    picture[:, 32:] = (200, 0, 0, 255)
    made = fitted(picture, flat(24, 32, 50, 0, 0), Fit.COVER)
    assert made[..., 1].max() == 0
    assert np.array_equal(made[:, :12], flat(24, 12, 50, 0, 0))
    assert np.array_equal(made[:, 20:], flat(24, 12, 200, 0, 0))
