from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from mattebox_backend.world import (
    Background,
    BackgroundColour,
    Bloom,
    Colour,
    InvalidScene,
    Motion,
    MotionKind,
    Part,
    PartKind,
    Rebloom,
    Recolour,
    Remove,
    Reshape,
    Resize,
    Scene,
    SceneObject,
    SetPart,
    Shape,
    Swap,
    render,
    sample_scene,
    scene_from_json,
)

GRAY = Background(BackgroundColour.GRAY)


def _pair() -> Scene:
    return Scene(
        (
            SceneObject(Shape.CIRCLE, Colour.RED, 36, 64, 20),
            SceneObject(Shape.STAR, Colour.BLUE, 92, 64, 20, part=Part(PartKind.DOT, Colour.WHITE)),
        ),
        GRAY,
    )


@pytest.mark.parametrize("seed", range(12))
def test_a_scene_survives_its_json(seed: int) -> None:
    scene = sample_scene(seed)
    assert scene_from_json(scene.to_json()) == scene


def test_a_seed_is_a_scene() -> None:
    assert sample_scene(41) == sample_scene(41)
    assert sample_scene(41) != sample_scene(42)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no valid JSON"),
        ("[]", "version None"),
        ('{"version": 7}', "version 7"),
        ('{"version": 1}', "'objects'"),
    ],
)
def test_json_that_is_no_scene_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidScene, match=words):
        scene_from_json(text)


def test_an_unknown_colour_in_json_is_named() -> None:
    data = json.loads(_pair().to_json())
    data["objects"][0]["colour"] = "mauve"
    with pytest.raises(InvalidScene, match="mauve"):
        scene_from_json(json.dumps(data))


@pytest.mark.parametrize(("width", "height", "frames"), [(4, 64, 2), (64, 64, 0)])
def test_a_scene_that_shows_nothing_is_refused(width: int, height: int, frames: int) -> None:
    with pytest.raises(InvalidScene):
        Scene((), GRAY, width, height, frames)


def test_a_bounce_keeps_an_object_in_the_frame() -> None:
    item = SceneObject(
        Shape.CIRCLE, Colour.RED, 30, 30, 20, motion=Motion(MotionKind.LINEAR, velocity=(9, -7))
    )
    for time in range(60):
        pose = item.pose(time, 128, 96)
        assert 20 <= pose.x <= 108
        assert 20 <= pose.y <= 76


def test_a_bloom_grows_and_changes_its_colour_word_half_way() -> None:
    item = SceneObject(Shape.CIRCLE, Colour.RED, 64, 64, 20, bloom=Bloom(Colour.YELLOW, 1.5, 4, 8))
    assert item.pose(0, 128, 128).size == 20
    assert item.pose(12, 128, 128).size == pytest.approx(30)
    assert [item.colour_at(t) for t in (0, 5, 6, 12)] == [
        Colour.RED,
        Colour.RED,
        Colour.YELLOW,
        Colour.YELLOW,
    ]


def test_edits_make_the_true_edited_scene() -> None:
    scene = _pair()
    assert scene.edit(Recolour(0, Colour.GREEN)).objects[0].colour is Colour.GREEN
    assert scene.edit(Reshape(1, Shape.RING)).objects[1].shape is Shape.RING
    assert scene.edit(SetPart(0, PartKind.STRIPE, Colour.CYAN)).objects[0].part == Part(
        PartKind.STRIPE, Colour.CYAN
    )
    swapped = scene.edit(Swap(0, 1)).objects
    assert (swapped[0].shape, swapped[0].x, swapped[1].colour) == (Shape.STAR, 36, Colour.RED)


def test_a_resized_object_stays_where_it_is_and_nothing_is_no_size() -> None:
    before, after = (scene.objects[1] for scene in (_pair(), _pair().edit(Resize(1, 1.2))))
    assert after.size == pytest.approx(24)
    assert replace(after, size=before.size) == before
    with pytest.raises(InvalidScene, match="size above 0"):
        _pair().edit(Resize(0, 0.0))


def test_what_blooms_can_bloom_otherwise_and_looks_the_same_before() -> None:
    item = replace(_pair().objects[0], bloom=Bloom(Colour.YELLOW, 1.5, 4, 8))
    scene = replace(_pair().with_object(0, item), frames=12)
    edited = scene.edit(Rebloom(0, Colour.PURPLE))
    before, after = render(scene), render(edited)
    assert np.array_equal(before.frames[:5], after.frames[:5])
    assert all((one != other).any() for one, other in zip(before.frames[5:], after.frames[5:], strict=True))
    assert np.array_equal(before.masks, after.masks)
    with pytest.raises(InvalidScene, match="Object 1 stays as it is"):
        scene.edit(Rebloom(1, Colour.PURPLE))


def test_indices_count_in_the_scene_as_given_even_when_something_is_removed() -> None:
    edited = _pair().edit(Remove(0), Recolour(1, Colour.GREEN))
    assert [(o.shape, o.colour) for o in edited.objects] == [(Shape.STAR, Colour.GREEN)]


def test_an_edit_of_an_object_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidScene, match="no object 2"):
        _pair().edit(Recolour(2, Colour.RED))


def test_an_edit_changes_pixels_only_near_the_object() -> None:
    scene = _pair()
    before, after = render(scene), render(scene.edit(Recolour(0, Colour.GREEN)))
    changed = np.any(before.frames != after.frames, axis=-1)
    assert changed[:, :, :60].any()
    assert not changed[:, :, 60:].any()
