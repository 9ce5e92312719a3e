"""Renders under a ControlNet: what it changes, what the cache keeps apart, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_backend.conditions import edges
from mattebox_backend.edit import ControlChoice
from mattebox_backend.errors import InvalidEdit, ModelRefused, UnknownModel
from mattebox_backend.render import Stage
from mattebox_media import open_clip

PARAMS = {"steps": 4, "window": 0.0, "exponent": 0.0, "sizes": 1}


@pytest.fixture
def params(tiny_controlnet: Path) -> dict[str, Any]:
    return {**PARAMS, "condition": "edges", "controlnet": str(tiny_controlnet)}


@pytest.fixture
def studio(studio_of: Any) -> Any:
    studio = studio_of()
    studio.edit = replace(studio.edit, params=PARAMS)
    return studio


def test_edges_are_where_colours_step_also_between_two_of_one_brightness() -> None:
    frame = np.full((16, 20, 3), (200, 30, 30), np.uint8)
    frame[:, 10:] = (30, 116, 30)  # as bright
    found = edges([frame, np.full((16, 20, 3), 90, np.uint8)])
    assert found.shape == (2, 16, 20)
    assert set(np.unique(found)) == {0, 255}
    assert np.flatnonzero(found[0].any(axis=0)).tolist() in ([9], [10])
    assert not found[1].any()
    assert not edges([frame], 1500, 1530).any(), "the thresholds change nothing"


def test_every_parameter_of_the_condition_matters(studio: Any, params: dict[str, Any]) -> None:
    bare, _ = studio.render()
    frames, report = studio.render(params=params)
    assert report.background_exact_share == 1.0
    assert not np.array_equal(frames, bare)
    for change in (
        {"controlnet_scale": 0.2},
        {"controlnet_window": -6.0},
        {"edge_low": 1500.0, "edge_high": 1530.0},
    ):
        other, _ = studio.render(params=params | change)
        assert not np.array_equal(frames, other), f"{change} changed nothing"
    off, _ = studio.render(params=params | {"controlnet_scale": 0.0})
    assert np.array_equal(off, bare)


def test_the_inversion_is_under_the_condition_and_kept_apart(studio: Any, params: dict[str, Any]) -> None:
    cached = [
        studio.render(params=p)[1].inversion_cached
        for p in (PARAMS, PARAMS, params, params, params | {"controlnet_scale": 0.5}, PARAMS)
    ]
    assert cached == [False, True, False, True, False, True]
    conditioned = {path.name for path in studio.paths.inversions.iterdir()}
    assert len(conditioned) == 3
    trajectories = [np.load(path / "latents.npy") for path in studio.paths.inversions.iterdir()]
    assert not np.array_equal(trajectories[0][-1], trajectories[1][-1])


def test_given_pictures_of_the_sources_edges_are_the_condition_edges(
    studio: Any, params: dict[str, Any]
) -> None:
    frames, _ = studio.render(params=params)
    found = np.repeat(edges(studio.source)[..., np.newaxis], 3, axis=-1)  # the clip has the working size
    given = params | {"condition": "pictures"}
    same, _ = studio.render(params=given, condition_pictures=found)
    assert np.array_equal(frames, same)
    found[1] = 255
    other, _ = studio.render(params=given, condition_pictures=found)
    assert not np.array_equal(frames, other)


def test_in_a_focus_the_condition_is_that_of_the_part(
    studio_of: Any, params: dict[str, Any], render_monitor: Any
) -> None:
    studio = studio_of(frames=2, height=96, width=128)
    studio.edit = replace(studio.edit, regions=studio.edit.regions[:1])
    focused = params | {"size": 111, "focus": True, "focus_margin": 0.0, "condition": "pictures"}
    dark = np.zeros((2, 96, 128, 3), np.uint8)
    monitor = render_monitor()
    frames, _ = studio.render(monitor, params=focused, condition_pictures=dark)
    assert any("around the regions" in line for line in monitor.logged)
    columns = np.flatnonzero(studio.edit.regions[0].masks.any(axis=(0, 1)))
    inside, beyond = dark.copy(), dark.copy()
    inside[:, :, columns] = 255
    beyond[:, :, columns[-1] + 40 :] = 255
    assert not np.array_equal(studio.render(params=focused, condition_pictures=inside)[0], frames)
    assert np.array_equal(studio.render(params=focused, condition_pictures=beyond)[0], frames)


def test_a_mix_of_ones_own_runs_under_a_condition_too(studio: Any, params: dict[str, Any]) -> None:
    given = {"steps": 4, "condition": "edges", "controlnet": params["controlnet"]}
    mix = {"method": "custom", "controls": (ControlChoice("latent-blend", {}),)}
    bare, _ = studio.render(params={"steps": 4}, **mix)
    for extra in ({}, {"tuning_steps": 2}, {"start": "noise"}):
        controls = (ControlChoice("invariant-region", {}),) if extra.get("start") else mix["controls"]
        frames, report = studio.render(params=given | extra, **(mix | {"controls": controls}))
        assert report.background_exact_share == 1.0
        without, _ = studio.render(params={"steps": 4} | extra, **(mix | {"controls": controls}))
        assert not np.array_equal(frames, without)
    off, _ = studio.render(params=given | {"controlnet_scale": 0.0}, **mix)
    assert np.array_equal(off, bare)


def test_a_model_that_knows_motion_is_conditioned_in_windows(
    studio_of: Any, motion_backbone: Any, params: dict[str, Any]
) -> None:
    studio = studio_of(frames=7)
    studio.backbone = motion_backbone
    moving = {"steps": 3, "map_reduction": 2, "reattention": False, "window_frames": 4, "window_stride": 3}
    studio.edit = replace(studio.edit, method="reatco", params=moving)
    bare, _ = studio.render()
    conditioned = moving | {"condition": "edges", "controlnet": params["controlnet"]}
    frames, report = studio.render(params=conditioned)
    assert report.background_exact_share == 1.0
    assert not np.array_equal(frames, bare)


@pytest.mark.parametrize("extra", [{}, {"tuning_steps": 2, "tuning_rate": 1e-2}, {"window_frames": 2}])
def test_re_attention_runs_under_a_condition_too(
    studio: Any, tiny_controlnet: Path, extra: dict[str, Any]
) -> None:
    params = {"steps": 4, "window": 20.0, "map_reduction": 2, "refinements": 1, "step_size": 50.0, **extra}
    studio.edit = replace(studio.edit, method="reatco", params=params)
    bare, _ = studio.render()
    frames, report = studio.render(params=params | {"condition": "edges", "controlnet": str(tiny_controlnet)})
    assert report.background_exact_share == 1.0
    assert not np.array_equal(frames, bare)
    assert not any(p.requires_grad for p in studio.backbone.unet.parameters())


def test_one_frame_and_an_odd_size_are_legal(studio_of: Any, params: dict[str, Any]) -> None:
    studio = studio_of(frames=1, height=50, width=74)
    frames, _ = studio.render(params=params)
    assert np.isfinite(frames.astype(float)).all()
    with open_clip(studio.clip) as reader:
        size = (reader.info.height, reader.info.width)
    depth = np.zeros((1, *size, 3), np.uint8)
    studio.render(params=params | {"condition": "pictures"}, condition_pictures=depth)


def test_a_model_without_a_controlnet_of_its_own_says_so_before_any_work(
    studio: Any, params: dict[str, Any], render_monitor: Any
) -> None:
    monitor = render_monitor()
    with pytest.raises(InvalidEdit, match="names none of its own; set the parameter 'controlnet'"):
        studio.render(monitor, params=params | {"controlnet": ""})
    with pytest.raises(UnknownModel, match="The ControlNet “nothing” is not known"):
        studio.render(monitor, params=params | {"controlnet": "nothing"})
    assert not any(stage in (Stage.INVERT, Stage.TUNE) for stage, _, _ in monitor.told)


def test_a_controlnet_that_does_not_fit_is_refused_before_a_tuning(
    studio: Any, tmp_path: Path, render_monitor: Any
) -> None:
    from diffusers import ControlNetModel

    ControlNetModel(
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        block_out_channels=(16, 16),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
    ).save_pretrained(tmp_path / "misfit")
    monitor = render_monitor()
    with pytest.raises(ModelRefused, match="does not fit"):
        studio.render(
            monitor,
            method="reatco",
            params={
                "map_reduction": 2,
                "tuning_steps": 2,
                "condition": "edges",
                "controlnet": str(tmp_path / "misfit"),
            },
        )
    assert not any(stage in (Stage.INVERT, Stage.TUNE) for stage, _, _ in monitor.told)
