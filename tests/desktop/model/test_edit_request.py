"""What is sent to be rendered, and what is refused before it is sent."""

from __future__ import annotations

import numpy as np
import pytest
from mattebox_desktop.model import commands
from mattebox_desktop.model.edit_request import edit_request
from mattebox_desktop.model.errors import IncompleteEditError, RangeError
from mattebox_desktop.model.project import Project


def painted(project: Project, name: str = "left", prompt: str = "a red disc", frame: int = 0) -> None:
    region = commands.add_region(project, name, prompt)
    with project.changes.transaction("Paint"):
        region.masks.set_key(frame, np.full((48, 64), 255, np.uint8))


def test_request_holds_one_mask_per_frame_of_the_range(project: Project) -> None:
    painted(project, frame=6)
    commands.set_range(project, 4, 10)
    request = edit_request(project, "fox")
    (region,) = request.regions
    assert [mask is not None for mask in region.masks] == [False, False, True, True, True, True]
    assert region.masks[2] is region.masks[5], "a held mask is one array"
    assert (request.start, request.stop, request.method) == (4, 10, "st-modulator")
    assert request.prompt == "a red disc", "without a prompt for the picture, the regions' own stand for it"


def test_painting_on_does_not_reach_a_request_under_way(project: Project) -> None:
    painted(project)
    request = edit_request(project, "fox")
    commands.clear_mask(project, project.regions[0], 0)
    with project.changes.transaction("Paint"):
        stroke = project.regions[0].masks.stroke(0)
        stroke.mask[:] = 3
    sent = request.regions[0].masks[0]
    assert sent is not None
    assert sent.min() == 255


def test_hidden_regions_are_left_out(project: Project) -> None:
    painted(project)
    painted(project, "right", "a star")
    commands.set_region_visible(project, project.regions[0], False)
    assert [region.name for region in edit_request(project, "").regions] == ["right"]


def test_what_is_missing_is_named(project: Project) -> None:
    with pytest.raises(IncompleteEditError, match="no region yet"):
        edit_request(project, "")
    region = commands.add_region(project, "left")
    with pytest.raises(IncompleteEditError, match="“left” is empty between in and out"):
        edit_request(project, "")
    commands.fill_mask(project, region, 5)
    with pytest.raises(IncompleteEditError, match="“left” has no prompt"):
        edit_request(project, "")
    commands.set_region_prompt(project, region, "a star")
    commands.set_range(project, 0, 5)
    with pytest.raises(IncompleteEditError, match="“left” is empty between in and out"):
        edit_request(project, "")
    commands.set_region_visible(project, region, False)
    with pytest.raises(IncompleteEditError, match="Every region is hidden"):
        edit_request(project, "")
    with pytest.raises(IncompleteEditError, match="no clip yet"):
        edit_request(Project(), "")


@pytest.mark.parametrize(("start", "stop"), [(3, 3), (5, 4), (0, 21), (-1, 4)])
def test_range_without_a_frame_is_refused(project: Project, start: int, stop: int) -> None:
    with pytest.raises(RangeError, match="holds no frame of this clip"):
        commands.set_range(project, start, stop)
    assert (project.in_point, project.out_point) == (0, 20)
