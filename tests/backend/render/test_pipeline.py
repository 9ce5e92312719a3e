"""Whole renders on a tiny model with random weights: what does not depend on what the model knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.edit import MaskMode, Reference
from mattebox_backend.errors import Cancelled, InvalidEdit
from mattebox_backend.render import Stage


def outside(studio: Any, grown: int = 0) -> Any:
    from mattebox_backend.masks.modes import grow

    union = np.maximum.reduce([region.masks for region in studio.edit.regions])
    return np.stack([grow(mask, grown) for mask in union]) == 0


def test_the_edit_changes_the_regions_and_nothing_else(studio: Any) -> None:
    frames, report = studio.render()
    source = studio.source
    background = outside(studio, grown=3)
    assert np.array_equal(frames[background], source[background])
    assert not np.array_equal(frames[~outside(studio)], source[~outside(studio)])
    assert report.background_exact_share == 1.0
    assert report.background_psnr is None


def test_without_preserve_the_background_is_measured_as_it_is(studio: Any) -> None:
    frames, report = studio.render(params={**studio.edit.params, "preserve": False})
    assert report.background_exact_share < 1
    assert report.background_psnr is not None
    assert 5 < report.background_psnr < 60
    assert not np.array_equal(frames, studio.source)


def test_the_same_edit_gives_the_same_bits_from_a_fresh_and_from_a_kept_inversion(studio: Any) -> None:
    first, fresh = studio.render()
    again, kept = studio.render()
    assert (fresh.inversion_cached, kept.inversion_cached) == (False, False) or kept.inversion_cached
    assert kept.inversion_cached
    assert np.array_equal(first, again)


def test_another_prompt_and_other_masks_share_the_inversion_but_another_source_prompt_does_not(
    studio: Any,
) -> None:
    studio.render()
    regions = tuple(replace(region, masks=255 - region.masks) for region in studio.edit.regions[:1])
    _, report = studio.render(prompt="a green circle", regions=regions)
    assert report.inversion_cached
    _, report = studio.render(source_prompt="a red square")
    assert not report.inversion_cached


@pytest.mark.parametrize("stage", [Stage.INVERT, Stage.SAMPLE])
def test_a_killed_render_goes_on_to_the_same_bits(
    studio_of: Callable[..., Any], stage: Stage, render_monitor: Any
) -> None:
    params = {"steps": 12, "window": 0.0, "exponent": 0.0, "sizes": 1}
    studio = studio_of(frames=2)
    with pytest.raises(KeyboardInterrupt):
        studio.render(render_monitor(stop_at=(stage, 8)), params=params)
    monitor = render_monitor()
    resumed, _ = studio.render(monitor, params=params)
    steps = [step for told, step, _ in monitor.told if told is stage and step > 0]
    assert steps[0] == 6, "it began anew, or did not go on from the checkpoint at step 5"

    studio.paths = replace(
        studio.paths,
        inversions=studio.paths.inversions / "other",
        checkpoint=studio.paths.checkpoint / "other",
    )
    uninterrupted, report = studio.render(params=params)
    assert not report.inversion_cached
    assert np.array_equal(resumed, uninterrupted)


def test_the_state_of_another_edit_is_not_taken_up(studio: Any, render_monitor: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        studio.render(render_monitor(stop_at=(Stage.SAMPLE, 5)))
    monitor = render_monitor()
    studio.render(monitor, seed=2)
    assert (Stage.SAMPLE, 1, 6) in monitor.told


@pytest.mark.parametrize("stage", [Stage.INVERT, Stage.SAMPLE, Stage.COMPOSITE])
def test_cancelling_stops_at_once_and_leaves_the_backbone_clean(
    studio: Any, stage: Stage, render_monitor: Any
) -> None:
    monitor = render_monitor(stop_at=(stage, 2), stop=Cancelled)
    with pytest.raises(Cancelled):
        studio.render(monitor)
    assert monitor.told[-1][:2] == (stage, 2)
    frames, _ = studio.render()
    assert len(frames) == 3


def test_progress_covers_every_stage_in_order_with_previews(studio: Any, render_monitor: Any) -> None:
    monitor = render_monitor()
    _, report = studio.render(monitor)
    stages = list(dict.fromkeys(stage for stage, _, _ in monitor.told))
    assert stages == [Stage.LOAD, Stage.MASKS, Stage.ENCODE, Stage.INVERT, Stage.SAMPLE, Stage.COMPOSITE]
    assert all(step == of for stage, step, of in (monitor.told[-1],))
    assert monitor.previews
    assert monitor.previews[0].dtype == np.uint8
    assert set(report.seconds) >= {stage.value for stage in Stage} - {"tune"}
    assert report.peak_memory_mb > 0


@pytest.mark.parametrize(("height", "width"), [(45, 71), (64, 128), (130, 64)])
def test_odd_sizes_and_other_aspects_keep_their_size(
    studio_of: Callable[..., Any], height: int, width: int
) -> None:
    studio = studio_of(frames=1, height=height, width=width)
    frames, report = studio.render()
    assert frames.shape == (1, height, width, 3)
    assert report.background_exact_share == 1.0


def test_sixteen_bit_sources_keep_their_depth(studio_of: Callable[..., Any], tmp_path: Any) -> None:
    from fractions import Fraction

    from mattebox_media import write_clip

    studio = studio_of(frames=2)
    deep = studio.source.astype(np.uint16) * 257 + 3
    path = tmp_path / "deep" / "%04d.png"
    path.parent.mkdir()
    write_clip(path, iter(deep), fps=Fraction(8))
    studio.clip = path
    frames, report = studio.render(clip=path)
    assert frames.dtype == np.uint16
    background = outside(studio, grown=3)
    assert np.array_equal(frames[background], deep[background])
    assert report.background_exact_share == 1.0


def test_regions_that_leave_the_shot_and_tiny_ones_are_legal(studio: Any) -> None:
    masks = np.zeros_like(studio.edit.regions[0].masks)
    masks[1, 10, 10] = 255
    regions = (replace(studio.edit.regions[0], masks=masks), studio.edit.regions[1])
    frames, report = studio.render(regions=regions)
    assert np.isfinite(report.background_exact_share)
    assert np.array_equal(frames[0][:, :16], studio.source[0][:, :16])


def test_references_are_refused_by_a_method_that_takes_none(studio: Any) -> None:
    reference = Reference(0, studio.source[0], "left")
    with pytest.raises(InvalidEdit, match="st-modulator works from prompts alone"):
        studio.render(references=(reference,))


def test_a_dilation_that_the_mask_mode_leaves_out_is_named(studio: Any) -> None:
    left, right = studio.edit.regions
    _, report = studio.render(regions=(replace(left, dilation=3), right))
    (warning,) = report.warnings
    assert warning.startswith("The region 'left' was not dilated")


def test_convolutions_stay_with_cudnn_but_deterministic(studio: Any, render_monitor: Any) -> None:
    class Looking(render_monitor):  # type: ignore[misc]
        def progress(self, *args: Any) -> None:
            flags = torch.backends.cudnn
            seen.add((flags.enabled, flags.deterministic, flags.benchmark))

    seen: set[tuple[bool, bool, bool]] = set()
    studio.render(Looking())
    assert seen == {(True, True, False)}


def test_masks_can_be_cancelled_between_frames(studio: Any, render_monitor: Any) -> None:
    class Impatient(render_monitor):  # type: ignore[misc]
        def progress(self, stage: Stage, step: int, of: int, preview: Any = None) -> None:
            if stage is Stage.MASKS and of > 1:
                raise Cancelled(f"{step} of {of}")

    wide = replace(studio.edit.regions[0], mode=MaskMode.DILATED, dilation=40)
    with pytest.raises(Cancelled, match="1 of 3"):
        studio.render(Impatient(), regions=(wide,))


def test_guidance_away_from_the_source_needs_a_source_prompt_and_a_scale(studio: Any) -> None:
    """Without either the early steps keep the ordinary guidance, negative prompt and all."""
    base = {**studio.edit.params, "negative_prompt": "hat"}
    plain, _ = studio.render(source_prompt="", params=base)
    unnamed, _ = studio.render(source_prompt="", params={**base, "source_window": 20.0})
    assert np.array_equal(plain, unnamed)
    named, _ = studio.render(params=base)
    without, _ = studio.render(params={**base, "source_window": 20.0, "source_guidance": 1.0})
    assert np.array_equal(named, without)
    nowhere, _ = studio.render(params={**base, "guidance_window": -19.0})
    ended, _ = studio.render(params={**base, "guidance_window": -19.0, "source_window": 20.0})
    assert np.array_equal(nowhere, ended), "source guidance outlasted the window of all guidance"


def test_a_prompt_that_is_too_long_names_count_and_limit(studio: Any, render_monitor: Any) -> None:
    monitor = render_monitor()
    with pytest.raises(InvalidEdit, match=r"38 tokens.* 22"):
        studio.render(monitor, prompt=" ".join(["a red circle and a blue"] * 5))
    assert not any(stage is Stage.INVERT for stage, _, _ in monitor.told), (
        "it was named after minutes of work"
    )


def test_every_switch_matters(studio: Any) -> None:
    frames, _ = studio.render()
    base = dict(studio.edit.params)
    for change in (
        {"cross": False},
        {"self_modulation": False},
        {"words_alone": False},
        {"special_tokens": "neutral"},
        {"full_frame": False},
        {"blend": False},
        {"guidance": 1.0},
        {"guidance_window": -19.0},
        {"source_window": 20.0},
        {"source_window": 20.0, "source_guidance": 2.0},
        {"negative_prompt": "hat"},
        {"lambda_background": 0.5},
        {"token_share": 0.05},
        {"window": -19.0},
        {"sizes": 2},
        {"feather": 9},
        {"size": 128},
    ):
        other, _ = studio.render(params=base | change)
        assert not np.array_equal(frames, other), f"{change} changed nothing"
