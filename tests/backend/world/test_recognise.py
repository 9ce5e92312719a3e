from __future__ import annotations

import cv2
import numpy as np
import pytest
from mattebox_backend.pocket.measure import match_objects
from mattebox_backend.pocket.seeds import MEASURE_SEEDS
from mattebox_backend.world import BackgroundColour, Colour, SceneOptions, Shape, render_frame, sample_scene
from mattebox_backend.world.recognise import colour_shares, nearest_colour, recognise, recognise_region
from mattebox_backend.world.render import visible_shares


def _shares(blur: float, options: SceneOptions) -> tuple[float, float, float]:
    """Right colour, right shape, right count on held-out renders in which every object is in full view."""
    colour = shape = objects = count = frames = 0
    for number in range(160):
        scene = sample_scene(MEASURE_SEEDS + 500_000 + number, options)
        if not scene.objects or min(visible_shares(scene, 3)) < 0.97:
            continue
        frame = render_frame(scene, 3)
        if blur:
            frame = cv2.GaussianBlur(frame, (0, 0), blur)
        seen = recognise(frame, scene.background.colour)
        right = match_objects(scene.objects, seen)
        colour, shape = colour + right[0], shape + right[1]
        objects += len(scene.objects)
        count += len(seen) == len(scene.objects)
        frames += 1
    return colour / objects, shape / objects, count / frames


def test_true_renders_are_named_rightly() -> None:
    colour, shape, count = _shares(0, SceneOptions(blooms=0))
    assert colour >= 0.99
    assert shape >= 0.97
    assert count >= 0.97


def test_a_blur_like_that_of_an_autoencoder_hardly_matters() -> None:
    colour, shape, count = _shares(1.5, SceneOptions(blooms=0, parts=0))
    assert colour >= 0.99
    assert shape >= 0.97
    assert count >= 0.97


def test_an_empty_frame_holds_nothing() -> None:
    for ground in BackgroundColour:
        scene = sample_scene(7, SceneOptions(counts=(1.0,)))
        assert recognise(render_frame(scene, 0)) == []
        assert recognise(render_frame(scene, 0), ground) is not None


def test_a_region_is_judged_by_what_lies_in_it() -> None:
    scene = sample_scene(MEASURE_SEEDS + 4, SceneOptions(counts=(0, 0, 1.0), parts=0, blooms=0, crowding=0))
    frame = render_frame(scene, 0)
    for item in scene.objects:
        rows, columns = np.mgrid[0:128, 0:128]
        region = np.hypot(columns - item.x, rows - item.y) < item.size
        seen = recognise_region(frame, region, scene.background.colour)
        assert seen is not None
        assert (seen.colour, seen.shape) == (item.colour, item.shape)
    assert recognise_region(frame, np.zeros((128, 128), bool)) is None


@pytest.mark.parametrize(
    ("rgb", "colour"),
    [((200, 60, 60), Colour.RED), ((230, 230, 225), Colour.WHITE), ((80, 230, 230), Colour.CYAN)],
)
def test_the_nearest_colour_is_the_one_a_viewer_would_name(rgb: tuple[int, int, int], colour: Colour) -> None:
    assert nearest_colour(np.array(rgb, float)) is colour


def test_colour_shares_count_pixels() -> None:
    frame = np.zeros((10, 10, 3), np.uint8)
    frame[:, :3] = (220, 40, 40)
    shares = colour_shares(frame, np.ones((10, 10), bool), BackgroundColour.BLACK)
    assert shares[Colour.RED] == pytest.approx(0.3)
    assert sum(colour_shares(frame, np.zeros((10, 10), bool)).values()) == 0
    assert Shape.CIRCLE not in shares
