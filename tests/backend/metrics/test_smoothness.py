"""Smoothness of motion: every second frame interpolated."""

from __future__ import annotations

import numpy as np
import pytest
from mattebox_backend.metrics.smoothness import middle_frame, motion_smoothness
from mattebox_backend.world import (
    Background,
    BackgroundColour,
    Colour,
    Motion,
    MotionKind,
    Scene,
    SceneObject,
    Shape,
    render,
)
from numpy.typing import NDArray


def moving(frames: int = 7, height: int = 96) -> NDArray[np.uint8]:
    motion = Motion(MotionKind.LINEAR, velocity=(3, 1))
    item = SceneObject(Shape.STAR, Colour.RED, 40, 45, 20, motion=motion)
    background = Background(BackgroundColour.GRAY)
    return render(Scene((item,), background, width=128, height=height, frames=frames)).frames


def plain_average(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.rint((one.astype(np.float64) + other) / 2).astype(np.uint8)


def test_it_is_what_is_lost_of_every_second_frame() -> None:
    frames = moving(6)
    errors = []
    for dropped in (1, 3):  # the sixth frame has no neighbour to its right
        guess = middle_frame(frames[dropped - 1], frames[dropped + 1])
        total = 0.0
        for value, true in zip(guess.ravel().tolist(), frames[dropped].ravel().tolist(), strict=True):
            total += abs(value - true)
        errors.append(total / frames[dropped].size)
    expected = (255 - sum(errors) / 2) / 255
    assert motion_smoothness(frames) == pytest.approx(expected, abs=1e-9)


def test_a_still_clip_is_perfectly_smooth_and_a_short_one_has_no_smoothness() -> None:
    still = np.repeat(moving(1), 5, axis=0)
    assert motion_smoothness(still) == 1
    assert motion_smoothness(still[:2]) is None
    assert motion_smoothness(still[:1]) is None


def test_a_middle_frame_follows_the_motion() -> None:
    frames = moving(3)
    true = frames[1].astype(np.float64)
    along = np.abs(middle_frame(frames[0], frames[2]) - true).mean()
    across = np.abs(plain_average(frames[0], frames[2]) - true).mean()
    assert along < 0.6 * across


def test_flicker_and_jumps_are_less_smooth_than_steady_motion() -> None:
    steady = moving(9)
    flickering = steady.copy()
    flickering[1::2] = np.clip(flickering[1::2].astype(int) + 30, 0, 255)
    jumping = steady[[0, 3, 1, 4, 2, 5, 3, 6, 4]]
    smooth = motion_smoothness(steady)
    assert smooth is not None
    for other in (flickering, jumping):
        found = motion_smoothness(other)
        assert found is not None
        assert found < smooth - 0.001


@pytest.mark.parametrize(("height", "width"), [(5, 7), (4, 40), (16, 33)])
def test_pictures_of_any_size_have_a_middle(height: int, width: int) -> None:
    pair = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    assert middle_frame(pair[0], pair[1]).shape == (height, width, 3)
    if height < 16:
        assert np.array_equal(middle_frame(pair[0], pair[1]), plain_average(pair[0], pair[1]))
