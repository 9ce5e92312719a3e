from __future__ import annotations

import cv2
import numpy as np
import pytest
from mattebox_backend.world import (
    Background,
    BackgroundColour,
    Colour,
    Motion,
    MotionKind,
    Part,
    PartKind,
    Pattern,
    Scene,
    SceneObject,
    Shape,
    render,
    render_frame,
    sample_scene,
)
from mattebox_backend.world.render import owners, visible_shares
from mattebox_backend.world.vocabulary import BACKGROUND_RGB, OBJECT_RGB

GRAY = Background(BackgroundColour.GRAY)


@pytest.mark.parametrize(("width", "height", "frames"), [(128, 128, 3), (97, 64, 1), (64, 131, 2)])
def test_any_size_and_count_is_legal(width: int, height: int, frames: int) -> None:
    made = render(sample_scene(3, width=width, height=height, frames=frames))
    assert made.frames.shape == (frames, height, width, 3)
    assert made.masks.shape[1:] == (frames, height, width)
    assert made.flow.shape == (frames - 1, height, width, 2)


def test_a_frame_alone_equals_the_frame_of_the_clip() -> None:
    scene = sample_scene(8)
    assert np.array_equal(render_frame(scene, 5), render(scene).frames[5])


def test_every_pixel_has_the_owner_that_the_masks_say() -> None:
    scene = sample_scene(9)
    clip = render(scene)
    owner = owners(scene, 5)
    for index in range(len(scene.objects)):
        assert np.array_equal(owner == index, clip.masks[index, 5] > 0)
    assert np.array_equal(owner == -1, clip.masks[:, 5].max(axis=0, initial=0) == 0)


def test_inside_a_mask_is_the_objects_colour_and_outside_the_background() -> None:
    scene = Scene((SceneObject(Shape.SQUARE, Colour.RED, 64, 64, 30),), GRAY, frames=1)
    made = render(scene)
    window = np.ones((3, 3), np.uint8)
    core = cv2.erode(made.masks[0, 0], window) > 0
    far = cv2.dilate(made.masks[0, 0], window) == 0
    assert (made.frames[0][core] == OBJECT_RGB[Colour.RED]).all()
    assert (made.frames[0][far] == BACKGROUND_RGB[BackgroundColour.GRAY]).all()


def test_what_lies_on_top_hides_what_lies_below() -> None:
    below = SceneObject(Shape.CIRCLE, Colour.RED, 60, 64, 24)
    top = SceneObject(Shape.CIRCLE, Colour.BLUE, 76, 64, 24)
    scene = Scene((below, top), GRAY, frames=1)
    made = render(scene)
    assert not (made.masks[0] & made.masks[1]).any()
    assert tuple(made.frames[0, 64, 70]) == OBJECT_RGB[Colour.BLUE]
    hidden, whole = visible_shares(scene, 0)
    assert hidden < 0.8
    assert whole == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("kind", list(PartKind))
def test_a_part_has_its_colour_and_lies_in_its_object(kind: PartKind) -> None:
    scene = Scene(
        (SceneObject(Shape.CIRCLE, Colour.RED, 64, 64, 30, part=Part(kind, Colour.CYAN)),), GRAY, frames=1
    )
    made = render(scene)
    assert made.parts.any()
    assert not (made.parts & ~made.masks).any()
    assert tuple(made.frames[0, 64, 64]) == OBJECT_RGB[Colour.CYAN]


@pytest.mark.parametrize(
    "motion",
    [
        Motion(MotionKind.LINEAR, velocity=(2.5, -1.25)),
        Motion(MotionKind.ORBIT, radius=9, rate=0.3),
        Motion(MotionKind.SPIN, rate=0.12),
        Motion(MotionKind.PULSE, rate=0.5, amplitude=0.15),
    ],
)
def test_the_next_frame_warped_back_by_the_true_flow_is_this_frame(motion: Motion) -> None:
    item = SceneObject(Shape.STAR, Colour.YELLOW, 60, 66, 30, motion=motion)
    scene = Scene((item,), Background(BackgroundColour.GRAY, Pattern.GRADIENT, pan=(1, 0)), frames=4)
    made = render(scene)
    columns, rows = np.meshgrid(np.arange(128, dtype=np.float32), np.arange(128, dtype=np.float32))
    unexplained = change = 0.0
    for time in range(3):
        x, y = columns + made.flow[time, ..., 0], rows + made.flow[time, ..., 1]
        back = cv2.remap(made.frames[time + 1], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        seen = ~made.occluded[time]
        seen[:, -2:] = False
        difference = np.abs(back.astype(int) - made.frames[time]).mean(axis=-1)[seen]
        still = np.abs(made.frames[time + 1].astype(int) - made.frames[time]).mean(axis=-1)[seen]
        # Where nothing but rounding changes, there is nothing to explain.
        moved = still > 8
        unexplained += difference[moved].sum()
        change += still[moved].sum()
    assert unexplained < 0.35 * change


def test_what_gets_covered_is_occluded() -> None:
    mover = SceneObject(
        Shape.SQUARE, Colour.RED, 40, 64, 20, motion=Motion(MotionKind.LINEAR, velocity=(4, 0))
    )
    made = render(Scene((mover,), GRAY, frames=2))
    covered = (made.masks[0, 0] == 0) & (made.masks[0, 1] > 0)
    assert made.occluded[0][covered].all()
    assert made.occluded[0].mean() < 0.02


def test_a_panning_pattern_moves_by_its_pan() -> None:
    scene = Scene((), Background(BackgroundColour.BROWN, Pattern.NOISE, pan=(3, 0), seed=4), frames=2)
    first, second = render(scene).frames
    assert np.array_equal(first[:, :-3], second[:, 3:])
    assert not np.array_equal(first, second)
