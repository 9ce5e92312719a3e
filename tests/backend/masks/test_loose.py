"""Boxes and coarse masks (mask-aware LoRA, appendices A and B.2)."""

from __future__ import annotations

import numpy as np
from mattebox_backend.edit import Region
from mattebox_backend.masks import loosened, stack_regions
from mattebox_backend.masks.loose import boxed, noisy


def with_squares(*squares: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((70, 90), np.uint8)
    for top, left, height, width in squares:
        mask[top : top + height, left : left + width] = 255
    return mask


def test_every_piece_gets_a_box_of_its_own_that_is_grown() -> None:
    mask = with_squares((10, 10, 10, 20), (50, 60, 10, 10))
    found = boxed(mask, 0.1)
    assert (found == with_squares((9, 8, 12, 24), (49, 59, 12, 12))).all()


def test_a_box_covers_a_ring_and_ends_at_the_picture() -> None:
    ring = with_squares((0, 0, 20, 20))
    ring[5:15, 5:15] = 0
    assert (boxed(ring, 0.5) == with_squares((0, 0, 30, 30))).all()


def test_soft_edges_outside_the_box_are_kept() -> None:
    mask = with_squares((10, 10, 10, 10))
    mask[9, 10:20] = 60
    assert (boxed(mask, 0.0) == mask).all()


def test_a_noisy_mask_is_that_of_a_seven_by_seven_grid() -> None:
    mask = with_squares((8, 20, 30, 30))
    found = noisy(mask)
    cells = np.zeros((7, 7), bool)
    for row in range(7):
        for column in range(7):
            top, bottom = row * 10, row * 10 + 10
            left, right = column * 90 / 7, (column + 1) * 90 / 7
            rows = max(0, min(bottom, 38) - max(top, 8))
            columns = max(0.0, min(right, 50) - max(left, 20))
            cells[row, column] = rows * columns / (10 * 90 / 7) >= 0.5
    for row in range(7):
        for column in range(7):
            centre = found[row * 10 + 5, int((column + 0.5) * 90 / 7)]
            assert (centre > 0) == cells[row, column]


def test_a_tiny_mask_keeps_a_cell_and_an_empty_one_nothing() -> None:
    assert 0 < (noisy(with_squares((3, 3, 2, 2))) > 0).mean() < 1 / 40
    empty = with_squares()
    assert not noisy(empty).any()
    assert not boxed(empty, 0.1).any()


def test_regions_are_loosened_frame_by_frame() -> None:
    masks = np.stack([with_squares((10, 10 + 20 * frame, 10, 10)) for frame in range(3)])
    stack = stack_regions([Region("one", "a star", masks)])
    assert loosened(stack, "as drawn", 0.1) is stack
    for shape in ("box", "ellipse", "noisy"):
        found = loosened(stack, shape, 0.1)
        assert (found.masks[0] >= masks).all() or shape == "noisy"
        assert not (found.masks[0][0] == found.masks[0][2]).all()
        assert (found.masks[0] == found.visible[0]).all()


def test_the_room_of_a_region_ends_where_another_is_drawn() -> None:
    disc, neighbour = with_squares((10, 10, 20, 20)), with_squares((12, 31, 10, 10))
    disc[10:14, 10:14] = 0
    part = with_squares((20, 20, 5, 5))
    names = {"disc": disc, "neighbour": neighbour, "part": part}
    stack = stack_regions(
        [Region(name, "", mask[None], order=k) for k, (name, mask) in enumerate(names.items())]
    )
    room = dict(zip(names, (masks[0] for masks in loosened(stack, "box", 0.2).masks), strict=True))
    assert (room["disc"] == np.where(neighbour > 0, 0, with_squares((6, 6, 28, 28)))).all()
    assert (room["neighbour"] == np.where(disc > 0, 0, with_squares((10, 29, 14, 14)))).all()
    assert (room["part"] == part).all(), "a part's room lies in what it is a part of"
