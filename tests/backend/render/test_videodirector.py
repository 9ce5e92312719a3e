"""VideoDirector as a render: what its switches do, what is kept, and what is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.render import Stage

PARAMS = {
    "steps": 6,
    "inner_steps": 3,
    "inner_rate": 5e-2,
    "self_window": -3.0,
    "appearance_inside": 5.0,
    "appearance_outside": 50.0,
}


@pytest.fixture
def studio(studio_of: Any) -> Any:
    studio = studio_of()
    studio.edit = replace(studio.edit, method="videodirector", params=PARAMS)
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
    again, _ = studio.render()
    assert np.array_equal(frames, again), "the same edit gave other bits"


def test_every_switch_matters(studio: Any) -> None:
    frames, _ = studio.render()
    for change in (
        {"inner_steps": 0},
        {"inner_rate": 0.2},
        {"multi_frame": False},
        {"decoupled": False},
        {"appearance_inside": 0.0},
        {"appearance_outside": 0.0},
        {"edited": "background"},
        {"self_first": False},
        {"self_second": False},
        {"self_window": 0.0},
        {"cross_control": "off"},
        {"cross_control": "refine"},
        {"cross_window": -19.0},
        {"emphasis": "green=3"},
        {"cross_control": "off", "emphasis": "green=3"},
        {"window_frames": 2},
        {"guidance": 2.0},
        {"guidance_window": -4.0},
        {"negative_prompt": "hat"},
    ):
        other, _ = studio.render(params=PARAMS | change)
        assert not np.array_equal(frames, other), f"{change} changed nothing"


def test_the_pivotal_inversion_is_kept_for_the_next_edit_of_the_clip(
    studio: Any, render_monitor: Any
) -> None:
    first, second = render_monitor(), render_monitor()
    studio.render(first)
    assert [step for stage, step, _ in first.told if stage is Stage.TUNE] == list(range(7))
    other = studio.edit.prompt.replace("green", "red")
    regions = (studio.edit.regions[0], replace(studio.edit.regions[1], prompt="a red square"))
    studio.render(second, prompt=other, regions=regions)
    assert [step for stage, step, _ in second.told if stage is Stage.TUNE] == [6]
    assert any("pivotal inversion" in message for message in second.logged)


def test_masks_that_guidance_depends_on_make_another_inversion(studio: Any, render_monitor: Any) -> None:
    monitor = render_monitor()
    studio.render()
    moved = replace(studio.edit.regions[0], masks=np.roll(studio.edit.regions[0].masks, 5, axis=1))
    studio.render(monitor, regions=(moved, studio.edit.regions[1]))
    assert [step for stage, step, _ in monitor.told if stage is Stage.TUNE] == list(range(7))


def test_prompts_of_unequal_length_cannot_be_replaced_word_by_word(studio: Any, render_monitor: Any) -> None:
    monitor = render_monitor()
    with pytest.raises(InvalidEdit, match="equally many tokens; the source's has 11 and the edit's 12"):
        studio.render(
            monitor,
            prompt="a shiny " + studio.edit.prompt.removeprefix("a "),
            regions=(replace(studio.edit.regions[0], prompt="blue circle"), studio.edit.regions[1]),
            params=PARAMS | {"cross_control": "replace"},
        )
    assert not any(stage is Stage.INVERT for stage, _, _ in monitor.told)


def test_one_frame_and_an_odd_size_are_legal(studio_of: Any) -> None:
    studio = studio_of(frames=1, height=50, width=74)
    _, report = studio.render(method="videodirector", params=PARAMS)
    assert report.background_exact_share == 1.0
