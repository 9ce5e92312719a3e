from __future__ import annotations

import math

import numpy as np
import pytest
from mattebox_backend.metrics.bootstrap import bootstrap_interval
from mattebox_backend.metrics.boundary import boundary_band, boundary_error
from mattebox_backend.metrics.errors import MetricInputError
from mattebox_backend.metrics.fidelity import exact_share, masked_psnr, masked_ssim
from mattebox_backend.metrics.recognition import (
    Target,
    colour_leak,
    colour_unsteadiness,
    edit_accuracy,
    placement,
)
from mattebox_backend.metrics.temporal import temporal_gradient, temporal_gradient_ratio, warp_error
from mattebox_backend.world import (
    Background,
    BackgroundColour,
    Colour,
    Motion,
    MotionKind,
    Recolour,
    Rendered,
    Scene,
    SceneObject,
    Shape,
    render,
)

MOVING = Motion(MotionKind.LINEAR, velocity=(2, 0))
SCENE = Scene(
    (
        SceneObject(Shape.CIRCLE, Colour.RED, 30, 64, 20, motion=MOVING),
        SceneObject(Shape.CIRCLE, Colour.BLUE, 90, 64, 20, motion=MOVING),
    ),
    Background(BackgroundColour.GRAY),
    frames=4,
)
RED, BLUE = Target(Shape.CIRCLE, Colour.RED), Target(Shape.CIRCLE, Colour.BLUE)


@pytest.fixture(scope="module")
def clip() -> Rendered:
    return render(SCENE)


def test_psnr_is_the_textbook_value_inside_the_mask_only() -> None:
    one = np.full((1, 8, 8, 3), 100, np.uint8)
    other = one.copy()
    other[:, :4] += 10
    mask = np.zeros((1, 8, 8), np.uint8)
    mask[:, :4] = 255
    assert masked_psnr(one, other, mask) == pytest.approx(20 * math.log10(255 / 10))
    assert masked_psnr(one, other, 255 - mask) == math.inf
    assert masked_psnr(one, other, np.zeros_like(mask)) is None


def test_ssim_is_one_for_equal_clips_and_falls_with_noise(clip: Rendered) -> None:
    mask = np.ones(clip.frames.shape[:3], bool)
    noise = np.random.default_rng(0).normal(0, 20, clip.frames.shape)
    noisy = np.clip(clip.frames + noise, 0, 255).astype(np.uint8)
    assert masked_ssim(clip.frames, clip.frames, mask) == pytest.approx(1)
    found = masked_ssim(noisy, clip.frames, mask)
    assert found is not None
    assert found < 0.6


def test_the_exact_share_counts_pixels_not_channels() -> None:
    one = np.zeros((1, 2, 2, 3), np.uint8)
    other = one.copy()
    other[0, 0, 0, 1] = 1
    assert exact_share(one, other, np.ones((1, 2, 2), bool)) == 0.75


def test_clips_of_two_sizes_are_refused() -> None:
    with pytest.raises(MetricInputError, match=r"\(1, 4, 4, 3\)"):
        masked_psnr(
            np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4, 5, 3), np.uint8), np.ones((1, 4, 4), bool)
        )
    with pytest.raises(MetricInputError, match="one mask per frame"):
        temporal_gradient(np.zeros((2, 4, 4, 3), np.uint8), np.ones((1, 4, 4), bool))


def test_the_temporal_gradient_is_the_mean_squared_change() -> None:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[1] = 51
    everywhere = np.ones((3, 4, 4), bool)
    assert temporal_gradient(frames, everywhere) == pytest.approx(0.04)
    assert temporal_gradient(frames[:1], everywhere[:1]) is None


def test_flicker_raises_the_gradient_ratio_above_one(clip: Rendered) -> None:
    flicker = clip.frames.copy()
    flicker[1::2] = np.clip(flicker[1::2].astype(int) + 40, 0, 255)
    everywhere = np.ones(clip.frames.shape[:3], bool)
    assert temporal_gradient_ratio(clip.frames, clip.frames, everywhere) == 1
    ratio = temporal_gradient_ratio(flicker, clip.frames, everywhere)
    assert ratio is not None
    assert ratio > 2


def test_the_true_clip_has_next_to_no_warp_error_and_a_shuffled_one_has(clip: Rendered) -> None:
    true = warp_error(clip.frames, clip.flow, clip.occluded)
    wrong = warp_error(clip.frames[[0, 3, 1, 2]], clip.flow, clip.occluded)
    assert true is not None
    assert wrong is not None
    assert true < 0.002
    assert wrong > 5 * true
    with pytest.raises(MetricInputError):
        warp_error(clip.frames, clip.flow[:1], clip.occluded[:1])


def test_the_boundary_band_lies_on_both_sides_of_the_edge(clip: Rendered) -> None:
    band = boundary_band(clip.masks[0], 2)
    inside = clip.masks[0].astype(bool)
    assert (band & inside).any()
    assert (band & ~inside).any()
    assert not band[0, 64, 30]
    assert not boundary_band(np.zeros((1, 8, 8), bool)).any()
    spoiled = clip.frames.copy()
    spoiled[band] = 0
    error = boundary_error(spoiled, clip.frames, clip.masks[0])
    assert boundary_error(clip.frames, clip.frames, clip.masks[0]) == 0
    assert error is not None
    assert error > 0.1


def test_edit_accuracy_tells_the_right_edit_from_the_source(clip: Rendered) -> None:
    wanted = [Target(Shape.CIRCLE, Colour.GREEN), BLUE]
    edited = render(SCENE.edit(Recolour(0, Colour.GREEN)))
    masks = list(clip.masks)
    assert edit_accuracy(edited.frames, masks, wanted).both == 1
    untouched = edit_accuracy(clip.frames, masks, wanted)
    assert (untouched.colour, untouched.shape, untouched.both, untouched.judged) == (0.5, 1, 0.5, 8)


def test_a_removed_object_must_not_be_seen(clip: Rendered) -> None:
    gone = np.full_like(clip.frames, 128)
    assert edit_accuracy(gone, [clip.masks[0]], [Target(None, None)]).both == 1
    assert edit_accuracy(clip.frames, [clip.masks[0]], [Target(None, None)]).both == 0


def test_placement_is_lost_when_two_objects_trade_places(clip: Rendered) -> None:
    centres = [
        np.array([(o.pose(t, 128, 128).x, o.pose(t, 128, 128).y) for t in range(4)]) for o in SCENE.objects
    ]
    assert placement(clip.frames, centres, [RED, BLUE]) == 1
    assert placement(clip.frames[:, :, ::-1].copy(), centres, [RED, BLUE]) == 0
    assert placement(clip.frames, centres[:1], [RED]) is None


def test_leak_is_the_share_of_the_neighbours_colour(clip: Rendered) -> None:
    spoiled = clip.frames.copy()
    half = clip.masks[0].astype(bool)
    half[:, 64:] = False
    spoiled[half] = (45, 75, 225)
    clean = colour_leak(clip.frames, list(clip.masks), [RED, BLUE])
    leaked = colour_leak(spoiled, list(clip.masks), [RED, BLUE])
    assert clean == pytest.approx(0, abs=0.01)
    assert leaked == pytest.approx(0.25, abs=0.02)
    assert colour_leak(clip.frames, [clip.masks[0]], [RED]) is None


def test_unsteadiness_sees_a_colour_that_comes_and_goes(clip: Rendered) -> None:
    spoiled = clip.frames.copy()
    spoiled[1, clip.masks[0, 1] > 0] = (45, 75, 225)
    steady = colour_unsteadiness(clip.frames, list(clip.masks))
    unsteady = colour_unsteadiness(spoiled, list(clip.masks))
    assert steady is not None
    assert unsteady is not None
    assert steady < 1 < unsteady


def test_a_bootstrap_interval_holds_the_mean_and_skips_what_is_missing() -> None:
    values = [0.2, 0.4, None, 0.9, float("inf"), 0.5]
    interval = bootstrap_interval(values)
    assert interval is not None
    assert interval.mean == pytest.approx(0.5)
    assert interval.low < 0.5 < interval.high
    assert interval.count == 4
    assert bootstrap_interval([None]) is None
    assert interval == bootstrap_interval(values)
