"""The distance of a vision tower's states, against LPIPS's formula written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mattebox_backend.metrics.errors import MetricInputError
from mattebox_backend.metrics.perceptual import cover, feature_distance, place_distances
from mattebox_backend.metrics.scorer import Scorer
from numpy.typing import NDArray


def clips(frames: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    both = np.random.default_rng(2).integers(0, 256, (2, frames, height, width, 3), np.uint8)
    return both[0], both[1]


def reference_distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Of two places: unit-normalised, squared difference, summed over channels."""
    sizes = [math.sqrt(sum(float(value) ** 2 for value in state)) for state in (one, other)]
    return sum((float(a) / sizes[0] - float(b) / sizes[1]) ** 2 for a, b in zip(one, other, strict=True))


def test_places_differ_by_the_formula_summed_over_layers() -> None:
    rng = np.random.default_rng(0)
    one = [rng.normal(size=(2, 3, 2, 5)), rng.normal(size=(2, 3, 2, 4))]
    other = [rng.normal(size=layer.shape) for layer in one]
    found = place_distances(one, other)
    assert found.shape == (2, 3, 2)
    for place in np.ndindex(found.shape):
        expected = sum(reference_distance(a[place], b[place]) for a, b in zip(one, other, strict=True))
        assert found[place] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 16), (3, 20, 28), (2, 8, 40)])
def test_places_count_by_the_share_that_the_mask_covers(
    scorer: Scorer, frames: int, height: int, width: int
) -> None:
    one, other = clips(frames, height, width)
    mask = np.zeros((frames, height, width), np.uint8)
    mask[0, 1:7, 3:9] = 255
    mask[-1, 2:5, : width // 2] = 1
    total = weight = 0.0
    for time in range(frames):
        if not mask[time].any():
            continue
        pasted = other[time].copy()
        pasted[mask[time] > 0] = one[time][mask[time] > 0]
        states, true = scorer.layers([pasted]), scorer.layers([other[time]])
        fine = np.kron(mask[time] > 0, np.ones((4, 4)))  # every cell is a whole number of these
        cells = fine.reshape(4, height, 4, width).mean(axis=(1, 3))
        for row in range(4):
            for column in range(4):
                apart = sum(
                    reference_distance(a[0, row, column], b[0, row, column])
                    for a, b in zip(states, true, strict=True)
                )
                total += cells[row, column] * apart
                weight += cells[row, column]
    assert feature_distance(scorer, one, other, mask) == pytest.approx(total / weight, rel=1e-4)


def test_what_is_outside_the_mask_has_no_say(scorer: Scorer) -> None:
    one, other = clips(2, 16, 24)
    mask = np.zeros((2, 16, 24), bool)
    mask[:, 4:9, 3:8] = True
    changed = one.copy()
    changed[~mask] = 0
    assert feature_distance(scorer, one, other, mask) == feature_distance(scorer, changed, other, mask)
    same = np.where(mask[..., None], other, one)
    assert feature_distance(scorer, same, other, mask) == 0
    assert feature_distance(scorer, one, other, ~mask) != feature_distance(scorer, one, other, mask)


def test_an_empty_mask_has_no_distance_and_other_sizes_are_refused(scorer: Scorer) -> None:
    one, other = clips(2, 16, 24)
    assert feature_distance(scorer, one, other, np.zeros((2, 16, 24))) is None
    with pytest.raises(MetricInputError, match="differ in size"):
        feature_distance(scorer, one, other[:1], np.ones((2, 16, 24)))
    with pytest.raises(MetricInputError, match="one mask per frame"):
        feature_distance(scorer, one, other, np.ones((2, 24, 16)))


def test_a_cell_is_covered_by_the_share_of_its_pixels() -> None:
    inside = np.zeros((8, 12), bool)
    inside[0, :3] = True
    inside[4:, 6:] = True
    expected = [[3 / 24, 0], [0, 1]]
    np.testing.assert_allclose(cover(inside, 2, 2), expected, atol=1e-6)
