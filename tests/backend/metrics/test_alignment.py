"""CLIP-T, CLIP-F and Q-edit against their formulae written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mattebox_backend.metrics.alignment import (
    edit_quality,
    first_frame_alignment,
    frame_consistency,
    input_similarity,
    region_alignment,
    text_alignment,
)
from mattebox_backend.metrics.boxes import region_box, square_box
from mattebox_backend.metrics.errors import MetricInputError
from mattebox_backend.metrics.scorer import Scorer
from numpy.typing import NDArray


def cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    dot = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(float(a) ** 2 for a in one)) / math.sqrt(sum(float(b) ** 2 for b in other))


def clip(frames: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (frames, height, width, 3), np.uint8)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_clip_t_and_clip_f_are_means_of_cosines(count: int) -> None:
    rng = np.random.default_rng(0)
    pictures, text = rng.normal(size=(count, 7)), rng.normal(size=7)
    expected = sum(cosine(picture, text) for picture in pictures) / count
    assert text_alignment(pictures, text) == pytest.approx(expected, abs=1e-12)
    if count == 1:
        assert frame_consistency(pictures) is None
        return
    expected = sum(cosine(pictures[n], pictures[n + 1]) for n in range(count - 1)) / (count - 1)
    assert frame_consistency(pictures) == pytest.approx(expected, abs=1e-12)


def test_a_clip_without_frames_is_refused() -> None:
    with pytest.raises(MetricInputError, match="no frames"):
        text_alignment(np.zeros((0, 3)), np.ones(3))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_clip_score_and_input_similarity_are_means_of_cosines(count: int) -> None:
    rng = np.random.default_rng(3)
    pictures, inputs, first = rng.normal(size=(count, 6)), rng.normal(size=(count, 6)), rng.normal(size=6)
    expected = sum(cosine(pictures[n], inputs[n]) for n in range(count)) / count
    assert input_similarity(pictures, inputs) == pytest.approx(expected, abs=1e-12)
    if count == 1:
        assert first_frame_alignment(pictures, first) is None
        return
    expected = sum(cosine(pictures[n], first) for n in range(1, count)) / (count - 1)
    assert first_frame_alignment(pictures, first) == pytest.approx(expected, abs=1e-12)


def test_clips_of_unequal_length_are_not_compared_frame_by_frame() -> None:
    with pytest.raises(MetricInputError, match="3 frames and 2 of the source"):
        input_similarity(np.ones((3, 2)), np.ones((2, 2)))
    with pytest.raises(MetricInputError, match="0 frames"):
        input_similarity(np.ones((0, 2)), np.ones((0, 2)))


def test_q_edit_is_the_number_in_the_papers_table() -> None:
    assert edit_quality(0.3656, 0.0142) == pytest.approx(25.75, abs=0.01)
    assert edit_quality(36.56, 1.42) == pytest.approx(25.75, abs=0.01)
    assert edit_quality(0.3, None) is None
    assert edit_quality(0.3, 0.0) is None


def test_a_region_is_held_against_its_own_prompt_where_it_is_seen(scorer: Scorer) -> None:
    frames = clip(3, 20, 34)
    masks = np.zeros((3, 3, 20, 34), np.uint8)
    masks[0, 0, 4:10, 5:9] = 255
    masks[0, 2, 12:13, 30:34] = 255  # gone in frame 1, at the border in frame 2
    masks[1, 1] = 255
    prompts = ["a red star", "a blue ring", "a white cross"]
    text = scorer.embed_texts(prompts)
    first = [frames[0][4:11, 4:11], frames[2][10:15, 29:34]]
    second = [frames[1][:, 0:34]]
    expected = [
        sum(cosine(scorer.embed_pictures([crop])[0], text[n]) for crop in crops) / len(crops)
        for n, crops in enumerate((first, second))
    ]
    found = region_alignment(scorer, frames, list(masks), prompts)
    assert found == pytest.approx(sum(expected) / 2, abs=1e-6)  # the third region is empty
    assert region_alignment(scorer, frames, list(masks[2:]), prompts[2:]) is None
    assert region_alignment(scorer, frames, [], []) is None


def test_masks_that_do_not_fit_are_refused(scorer: Scorer) -> None:
    frames = clip(2, 8, 10)
    with pytest.raises(MetricInputError, match="one mask per frame"):
        region_alignment(scorer, frames, [np.ones((2, 10, 8))], ["a star"])
    with pytest.raises(MetricInputError, match="1 masks and 2 prompts"):
        region_alignment(scorer, frames, [np.ones((2, 8, 10))], ["a star", "a ring"])


def test_a_box_is_a_square_around_the_region_inside_the_picture() -> None:
    mask = np.zeros((40, 60), bool)
    assert region_box(mask) is None
    mask[10:20, 30:34] = True
    assert region_box(mask) == (slice(9, 21), slice(26, 38))
    mask[:] = False
    mask[0, 0] = True
    assert region_box(mask) == (slice(0, 1), slice(0, 1))
    mask[:, :] = True
    assert region_box(mask) == (slice(0, 40), slice(0, 60))
    assert square_box(2, 58, 10, 40, 60) == (slice(0, 10), slice(50, 60))
