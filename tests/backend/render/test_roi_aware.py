"""Region-aware diffusion as a render: what each mechanism does, what is neutral, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_backend.backbones import load_backbone
from mattebox_backend.backbones.region_diffusion import RegionDiffusion
from mattebox_backend.device import Device
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.methods import find_method
from mattebox_backend.render import Stage

PARAMS = {"steps": 6, "guidance": 4.0}


@pytest.fixture
def studio(studio_of: Any) -> Any:
    studio = studio_of(frames=2)
    studio.edit = replace(studio.edit, method="roi-aware", params=PARAMS)
    return studio


def test_outside_the_regions_nothing_changes_and_the_model_is_left_as_it_was(studio: Any) -> None:
    def weights() -> str:
        digest = hashlib.sha256()
        for value in studio.backbone.unet.state_dict().values():
            digest.update(value.numpy().tobytes())
        return digest.hexdigest()

    params = PARAMS | {
        "self_inside": 1.0,
        "routing": 1.0,
        "boundary_smoothing": 4.0,
        "mask_reach": 1,
        "weight_inside": 1.1,
        "solver": "heun",
    }
    before = weights()
    frames, report = studio.render(params=params)
    assert report.background_exact_share == 1.0
    masks = np.max([region.masks for region in studio.edit.regions], axis=0)
    assert not np.array_equal(frames[masks > 0], studio.source[masks > 0])
    assert weights() == before
    again, _ = studio.render(params=params)
    assert np.array_equal(frames, again), "the same edit gave other bits"


def test_every_mechanism_matters(studio: Any) -> None:
    frames, _ = studio.render()
    for change in (
        {"integrated": False},
        {"guidance_field": False},
        {"guidance_outside": 4.0},
        {"guidance_share": 0.3},
        {"self_inside": 2.0},
        {"self_outwards": -2.0},
        {"self_inwards": -2.0},
        {"routing": 2.0},
        {"weight_inside": 1.2},
        {"mask_reach": 2, "mask_agreement": 5.0},
        {"mask_reach": 2, "mask_conflict": 0.0},
        {"boundary_smoothing": 6.0},
        {"outside": "noise"},
        {"outside": "free"},
        {"outside": "free", "weight_outside": 0.8},
        {"outside": "noise", "start": "noise"},
        {"start_level": -3.0},
        {"solver": "heun"},
        {"frames_seen": "own"},
        {"window_frames": 1},
    ):
        other, _ = studio.render(params=PARAMS | change)
        assert not np.array_equal(frames, other), f"{change} changed nothing"


def test_levels_and_sizes_limit_what_attention_does(studio: Any) -> None:
    biased = PARAMS | {"self_inside": 3.0, "routing": 3.0}
    plain, _ = studio.render()
    frames, _ = studio.render(params=biased)
    for change in ({"attention_window": -2.0}, {"attention_sizes": 2}):
        other, _ = studio.render(params=biased | change)
        assert not np.array_equal(frames, other), f"{change} changed nothing"
        assert not np.array_equal(plain, other)
    never, _ = studio.render(params=biased | {"attention_window": -20.0})
    assert np.array_equal(plain, never)


def test_rising_guidance_begins_and_ends_where_it_is_told_to(studio: Any) -> None:
    rising = PARAMS | {"guidance_share": 0.2}
    frames, _ = studio.render(params=rising)
    for change in ({"guidance_rises_from": -6.0}, {"guidance_rises_to": 3.0}):
        other, _ = studio.render(params=rising | change)
        assert not np.array_equal(frames, other), f"{change} changed nothing"


def test_the_baseline_knows_no_mask_but_in_the_composite(studio: Any) -> None:
    """Eq. 6.6: the same picture comes out under any mask, and is blended by it."""
    params = PARAMS | {"integrated": False, "preserve": False}
    globally, _ = studio.render(params=params)
    other = tuple(replace(region, masks=np.roll(region.masks, 20, -1)) for region in studio.edit.regions)
    moved, _ = studio.render(params=params, regions=other)
    assert np.array_equal(globally, moved)
    hard = tuple(replace(region, feather=0) for region in studio.edit.regions)
    blended, _ = studio.render(params=PARAMS | {"integrated": False}, regions=hard)
    mask = np.max([region.masks for region in hard], axis=0)[..., None] > 0
    assert np.array_equal(blended, np.where(mask, globally, studio.source))
    varied = {"self_inside": 3.0, "routing": 2.0, "weight_inside": 1.5, "mask_reach": 2, "outside": "free"}
    still, _ = studio.render(params=params | varied)
    assert np.array_equal(globally, still)


def test_a_start_from_noise_asks_for_no_inversion(studio: Any, render_monitor: Any) -> None:
    monitor = render_monitor()
    params = PARAMS | {"start": "noise", "outside": "noise"}
    frames, report = studio.render(monitor, params=params)
    assert not report.inversion_cached
    assert [told for told in monitor.told if told[0] is Stage.INVERT] == [
        (Stage.INVERT, 0, 1),
        (Stage.INVERT, 1, 1),
    ]
    other, _ = studio.render(params=params, seed=2)
    assert not np.array_equal(frames, other), "the noise does not come from the seed"


def test_fewer_steps_are_taken_from_a_cleaner_level(studio: Any, render_monitor: Any) -> None:
    def steps(level: float) -> list[int]:
        monitor = render_monitor()
        studio.render(monitor, params=PARAMS | {"start_level": level})
        return [step for stage, step, _ in monitor.told if stage is Stage.SAMPLE and step > 0]

    assert steps(-20.0) == [1, 2, 3, 4, 5, 6]
    assert steps(20.0) == [6]
    assert 1 < len(steps(-4.0)) < 6


@pytest.mark.parametrize(
    "changes", [{}, {"solver": "heun", "mask_reach": 1}, {"start": "noise", "outside": "noise"}]
)
def test_a_killed_render_goes_on_to_the_same_bits(
    studio_of: Callable[..., Any], render_monitor: Any, changes: dict[str, Any]
) -> None:
    params = {"steps": 10, "boundary_smoothing": 5.0} | changes
    studio = studio_of(frames=1)
    studio.edit = replace(studio.edit, method="roi-aware", params=params)
    with pytest.raises(KeyboardInterrupt):
        studio.render(render_monitor(stop_at=(Stage.SAMPLE, 7)))
    monitor = render_monitor()
    resumed, _ = studio.render(monitor)
    assert (Stage.SAMPLE, 5, 10) not in monitor.told
    studio.paths = replace(studio.paths, checkpoint=studio.paths.checkpoint / "other")
    whole, _ = studio.render()
    assert np.array_equal(resumed, whole)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"start": "noise"}, "set outside to 'noise' or 'free'"),
        ({"guidance_rises_from": 2.0, "guidance_rises_to": 1.0}, "cannot rise from log-SNR 2 to 1"),
        ({"window_frames": 2, "window_stride": 3}, "window_stride of at most 2"),
    ],
)
def test_what_contradicts_itself_is_refused_before_any_work(
    studio: Any, render_monitor: Any, params: dict[str, Any], words: str
) -> None:
    monitor = render_monitor()
    with pytest.raises(InvalidEdit, match=words):
        studio.render(monitor, params=PARAMS | params)
    assert not any(stage is Stage.ENCODE for stage, _, _ in monitor.told)


def test_defaults_are_neutral_where_the_paper_has_no_number() -> None:
    p = find_method("roi-aware").parse({})
    assert p.self_inside == p.self_outwards == p.self_inwards == p.routing == 0
    assert p.weight_inside == p.weight_outside == p.guidance_share == 1
    assert p.mask_reach == p.boundary_smoothing == 0
    assert p.integrated
    assert p.guidance_field


def test_one_frame_and_an_odd_size_are_legal(studio_of: Any) -> None:
    studio = studio_of(frames=1, height=50, width=74)
    params = PARAMS | {"mask_reach": 1, "boundary_smoothing": 3.0, "self_inside": 1.0, "focus": True}
    frames, report = studio.render(method="roi-aware", params=params)
    assert report.background_exact_share == 1.0
    assert np.isfinite(frames.astype(float)).all()


def test_a_model_that_reads_masks_is_told_the_regions_and_then_forgets_them(
    studio: Any, region_model: Path
) -> None:
    backbone = load_backbone(region_model, Device("cpu", 0, "float32"))
    assert isinstance(backbone, RegionDiffusion)
    studio.backbone = backbone
    params = {"steps": 4, "start": "noise", "outside": "noise"}
    frames, report = studio.render(params=params)
    assert report.background_exact_share == 1.0
    assert backbone.condition is None
    again, _ = studio.render(params=params)
    assert np.array_equal(frames, again)
    untold, _ = studio.render(params=params | {"integrated": False})
    assert not np.array_equal(frames, untold)
    focused, _ = studio.render(params=params | {"focus": True, "window_frames": 1})
    assert focused.shape == frames.shape
