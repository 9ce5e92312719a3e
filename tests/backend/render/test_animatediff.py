"""Renders on a model that knows motion: windows over longer clips, and what such a model is not for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.render import Stage

PARAMS = {"steps": 4, "window": 20.0, "map_reduction": 2, "refinements": 1, "frames_seen": "own"}


@pytest.fixture
def studio(studio_of: Any, motion_backbone: Any) -> Any:
    """Seven frames, one more than the model takes at once."""
    studio = studio_of(frames=7)
    studio.backbone = motion_backbone
    studio.edit = replace(studio.edit, method="reatco", params=PARAMS)
    return studio


def test_a_clip_longer_than_the_model_knows_is_refused_before_it_is_encoded(
    studio: Any, render_monitor: Any
) -> None:
    monitor = render_monitor()
    with pytest.raises(InvalidEdit, match=r"at most 6 frames at once and is given 7.*\(window_frames\)"):
        studio.render(monitor)
    assert not any(stage is Stage.ENCODE for stage, _, _ in monitor.told)


def test_it_is_rendered_in_windows(studio: Any) -> None:
    frames, report = studio.render(params=PARAMS | {"window_frames": 4, "window_stride": 3})
    assert report.background_exact_share == 1.0
    masks = np.max([region.masks for region in studio.edit.regions], axis=0)
    assert not np.array_equal(frames[masks > 0], studio.source[masks > 0])


def test_tuning_it_on_one_clip_is_refused(studio: Any) -> None:
    params = PARAMS | {"window_frames": 4, "tuning_steps": 2}
    with pytest.raises(InvalidEdit, match="knows motion and cannot be tuned on one clip"):
        studio.render(params=params)
