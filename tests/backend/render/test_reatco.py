"""Re-attention as a render: what its switches do, what is kept, and what is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.render import Stage

PARAMS = {"steps": 6, "window": 20.0, "map_reduction": 2, "refinements": 1, "step_size": 200.0}


@pytest.fixture
def studio(studio_of: Any) -> Any:
    studio = studio_of()
    studio.edit = replace(studio.edit, method="reatco", params=PARAMS)
    return studio


def test_outside_the_regions_nothing_changes_and_the_model_is_left_as_it_was(studio: Any) -> None:
    def weights() -> str:
        digest = hashlib.sha256()
        for value in studio.backbone.unet.state_dict().values():
            digest.update(value.numpy().tobytes())
        return digest.hexdigest()

    before = weights()
    frames, report = studio.render()
    assert report.background_exact_share == 1.0
    masks = np.max([region.masks for region in studio.edit.regions], axis=0)
    assert not np.array_equal(frames[masks > 0], studio.source[masks > 0])
    assert weights() == before
    assert not any(p.requires_grad for p in studio.backbone.unet.parameters())
    again, _ = studio.render()
    assert np.array_equal(frames, again), "the same edit gave other bits"


def test_every_switch_matters(studio: Any) -> None:
    frames, _ = studio.render()
    for change in (
        {"reattention": False},
        {"invariant": False},
        {"step_size": 20.0},
        {"top_share": 1.0},
        {"window": -19.0},
        {"refinements": 0},
        {"map_reduction": 1},
        {"frames_seen": "own"},
        {"frames_seen": "first and previous"},
        {"window_frames": 2},
        {"tuning_steps": 2, "tuning_rate": 1e-2},
        {"guidance": 1.0},
        {"words_alone": False},
    ):
        other, _ = studio.render(params=PARAMS | change)
        assert not np.array_equal(frames, other), f"{change} changed nothing"


def test_saving_memory_changes_next_to_nothing(studio: Any) -> None:
    saved, _ = studio.render()
    plain, _ = studio.render(params=PARAMS | {"checkpointing": False})
    assert np.abs(saved.astype(int) - plain.astype(int)).max() <= 1


def test_a_tuned_model_is_kept_for_the_next_edit_of_the_clip(studio: Any, render_monitor: Any) -> None:
    first, second = render_monitor(), render_monitor()
    params = PARAMS | {"tuning_steps": 3, "tuning_rate": 1e-2}
    frames, _ = studio.render(first, params=params)
    assert [step for stage, step, _ in first.told if stage is Stage.TUNE] == [0, 1, 2, 3]
    again, _ = studio.render(second, params=params)
    assert [step for stage, step, _ in second.told if stage is Stage.TUNE] == [3]
    assert np.array_equal(frames, again)
    assert any("tuned on this clip" in message for message in second.logged)


def test_a_killed_tuning_goes_on_to_the_same_bits(studio: Any, render_monitor: Any) -> None:
    params = PARAMS | {"steps": 2, "tuning_steps": 52, "tuning_rate": 1e-3}
    with pytest.raises(KeyboardInterrupt):
        studio.render(render_monitor(stop_at=(Stage.TUNE, 51)), params=params)
    kept = studio.paths.checkpoint / "tuning.safetensors"
    assert kept.is_file()
    monitor = render_monitor()
    resumed, _ = studio.render(monitor, params=params)
    assert [step for stage, step, _ in monitor.told if stage is Stage.TUNE] == [0, 51, 52]
    assert not kept.exists()
    elsewhere = {name: getattr(studio.paths, name) / "other" for name in ("inversions", "checkpoint")}
    studio.paths = replace(studio.paths, **elsewhere)
    uninterrupted, _ = studio.render(params=params)
    assert np.array_equal(resumed, uninterrupted)


def test_windows_that_leave_gaps_are_refused_in_words(studio: Any) -> None:
    with pytest.raises(InvalidEdit, match="window_stride of at most 2"):
        studio.render(params=PARAMS | {"window_frames": 2, "window_stride": 3})


def test_an_attention_size_that_the_model_lacks_is_refused_before_any_work(
    studio: Any, render_monitor: Any
) -> None:
    monitor = render_monitor()
    with pytest.raises(InvalidEdit, match="set map_reduction to one of 1, 2"):
        studio.render(monitor, params=PARAMS | {"map_reduction": 8})
    assert not any(stage is Stage.INVERT for stage, _, _ in monitor.told)


def test_one_frame_and_an_odd_size_are_legal(studio_of: Any) -> None:
    studio = studio_of(frames=1, height=50, width=74)
    frames, report = studio.render(method="reatco", params=PARAMS)
    assert report.background_exact_share == 1.0
    assert np.isfinite(frames.astype(float)).all()
