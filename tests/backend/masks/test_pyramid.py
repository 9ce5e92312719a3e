"""Masks at latent and attention size, and who owns a token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mattebox_backend.edit import Region
from mattebox_backend.masks import BACKGROUND, area_coverage, resize_masks, stack_regions
from numpy.typing import NDArray


def region(name: str, area: tuple[slice, slice], order: int = 0, size: tuple[int, int] = (32, 32)) -> Region:
    masks = np.zeros((1, *size), np.uint8)
    masks[0][area] = 255
    return Region(name, name, masks, order=order)


def test_coverage_is_the_share_of_area_also_where_cells_do_not_divide_the_frame() -> None:
    masks = np.zeros((1, 10, 10), np.uint8)
    masks[0, :, :5] = 255
    assert area_coverage(masks, 1, 3)[0, 0] == pytest.approx([1, 0.5, 0], abs=0.02)
    assert resize_masks(masks, 1, 2)[0].tolist() == [[255, 0]]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrays(np.uint8, (2, 12, 18)), st.sampled_from([(3, 3), (4, 6), (6, 9), (12, 18)]))
def test_resizing_by_area_keeps_the_area(masks: NDArray[np.uint8], size: tuple[int, int]) -> None:
    assert area_coverage(masks, *size).mean() == pytest.approx(masks.mean() / 255, abs=1e-4)


def test_the_top_most_region_that_covers_half_a_token_owns_it() -> None:
    left = region("left", np.s_[:, :20], order=0)
    right = region("right", np.s_[:, 12:], order=1)
    owners = stack_regions([left, right]).owners(1, 4)[0, 0].tolist()
    assert owners == [1, 2, 2, 2]


def test_order_decides_not_the_place_in_the_list() -> None:
    low = region("low", np.s_[:, :], order=0)
    high = region("high", np.s_[:, :], order=5)
    assert [r.name for r in stack_regions([high, low]).regions] == ["low", "high"]
    assert (stack_regions([high, low]).owners(2, 2) == 2).all()


def test_below_half_the_largest_share_owns_the_background_included() -> None:
    thin = region("thin", np.s_[:, 0:3])
    wide = region("wide", np.s_[:, 8:12])
    owners = stack_regions([thin, wide]).owners(4, 4)[0, 0]
    assert owners[1] == 2, "4 of 8 columns: half"
    assert owners[0] == 1, "3 of 8 columns are less than the background's 5, yet the region owns nothing else"
    assert (owners[2:] == BACKGROUND).all()


def test_a_smaller_share_takes_tokens_from_the_background_and_never_from_a_neighbour() -> None:
    left = region("left", np.s_[:, 8:14], order=0)
    right = region("right", np.s_[:, 14:18], order=1)
    both, alone = stack_regions([left, right]), stack_regions([right])
    assert both.owners(4, 4)[0, 1].tolist() == [0, 1, 0, 0]
    assert both.owners(4, 4, share=0.2)[0, 1].tolist() == [0, 1, 2, 0]
    assert alone.owners(4, 4)[0, 1].tolist() == [0, 0, 0, 0]
    assert alone.owners(4, 4, share=0.2)[0, 1].tolist() == [0, 1, 1, 0]


def test_a_region_smaller_than_a_token_owns_the_one_that_it_covers_most() -> None:
    speck = region("speck", np.s_[7:9, 6:12])
    owners = stack_regions([speck]).owners(4, 4)[0]
    assert (owners == 1).sum() == 1
    assert owners[0, 1] == 1 or owners[1, 1] == 1


def test_a_hidden_region_owns_nothing() -> None:
    speck = region("speck", np.s_[8:10, 8:10], order=0)
    cover = region("cover", np.s_[4:20, 4:20], order=1)
    assert not (stack_regions([speck, cover]).owners(4, 4) == 1).any()


def test_every_frame_has_its_own_owners_and_an_absent_region_owns_nothing() -> None:
    masks = np.zeros((3, 16, 16), np.uint8)
    masks[1, :8] = 255
    owners = stack_regions([Region("comes and goes", "x", masks)]).owners(2, 2)
    assert owners.tolist() == [[[0, 0], [0, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 0]]]


def test_a_part_knows_what_it_is_a_part_of() -> None:
    man = region("man", np.s_[4:30, 4:30], order=0)
    glasses = region("glasses", np.s_[8:12, 8:24], order=1)
    lens = region("lens", np.s_[9:11, 9:12], order=2)
    beside = region("beside", np.s_[0:32, 28:32], order=3)
    assert stack_regions([man, glasses, lens, beside]).parents == ((), (0,), (0, 1), ())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrays(np.uint8, (3, 1, 12, 16), elements=st.sampled_from([0, 100, 255])))
def test_owners_are_one_label_per_token_and_every_visible_region_has_one(masks: NDArray[np.uint8]) -> None:
    stack = stack_regions([Region(str(k), "x", mask, order=k) for k, mask in enumerate(masks)])
    owners = stack.owners(3, 4)
    assert owners.shape == (1, 3, 4)
    assert set(np.unique(owners)) <= {0, 1, 2, 3}
    top = len(masks) - 1
    assert (owners == top + 1).any() == masks[top].any()
