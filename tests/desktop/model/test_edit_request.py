"""What is sent to be rendered, and what is refused before it is sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mattebox_desktop.model import commands
from mattebox_desktop.model import edit_request as model_edit_request
from mattebox_desktop.model.edit_request import edit_request
from mattebox_desktop.model.errors import (
    FirstReferenceError,
    IncompleteEditError,
    RangeError,
    ReferencesUnusedError,
    WrongModelError,
)
from mattebox_desktop.model.method_choice import Choice, Known, choose
from mattebox_desktop.model.project import ClipRef, Project
from mattebox_desktop.model.reference import Picture
from mattebox_desktop.model.reference_commands import add_reference


@dataclass(frozen=True)
class Parameter:
    name: str


@dataclass(frozen=True)
class Method:
    id: str
    title: str
    takes_references: bool = False
    families: tuple[str, ...] = ()
    available: bool = True
    parameters: tuple[Parameter, ...] = (Parameter("steps"),)


@dataclass(frozen=True)
class Model:
    id: str
    family: str
    available: bool = True
    shipped: bool = False


LAYOUT = Method(
    "st-modulator", "Layout-guided attention", parameters=(Parameter("steps"), Parameter("blend"))
)
CARRY = Method("carry", "Carry", takes_references=True, families=("video",))
POCKET, FAR = Model("pocket-sd", "sd", shipped=True), Model("far", "video", available=False, shipped=True)
LARGE, VIDEO = Model("a-large-one", "video"), Model("clip", "video", shipped=True)
KNOWN = Known((LAYOUT, CARRY), (LARGE, POCKET, FAR, VIDEO))


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


def refer(project: Project, frame: int, region: int = 0, value: int = 9) -> None:
    assert project.clip is not None
    picture = Picture(np.full((*project.clip.shape, 3), value, np.uint8), "painted.png")
    add_reference(project, frame, project.regions[region], picture)


def test_references_between_in_and_out_are_sent_and_the_others_said(project: Project) -> None:
    painted(project)
    painted(project, "right", "a star")
    for frame, region in ((12, 0), (4, 1), (4, 0), (3, 0), (13, 1)):
        refer(project, frame, region, value=frame)
    commands.set_range(project, 4, 13)
    commands.set_region_visible(project, project.regions[1], False)
    request = edit_request(project, "fox", KNOWN)
    assert [(r.frame, r.region, int(r.pixels[0, 0, 0])) for r in request.references] == [
        (4, "left", 4),
        (12, "left", 12),
    ]
    assert request.remarks == (
        "The reference of “left” at frame 3 is left out: it lies outside in and out.",
        "The reference of “right” at frame 4 is left out: its region is hidden.",
        "The reference of “right” at frame 13 is left out: its region is hidden.",
    )


def test_a_reference_that_shows_nothing_new_is_said(project: Project) -> None:
    painted(project)
    add_reference(project, 0, project.regions[0], Picture(np.zeros((48, 64, 3), np.uint8)))
    assert edit_request(project, "fox", KNOWN).remarks == (
        "The reference of “left” at frame 0 is not edited yet: it asks for what is there.",
    )


def test_auto_takes_a_method_and_a_model_that_fit_the_references(project: Project) -> None:
    painted(project)
    assert _choice(project) == ("st-modulator", "pocket-sd")
    refer(project, 0)
    assert _choice(project) == ("carry", "clip"), "what ships, and is here"
    commands.set_backbone(project, "a-large-one")
    assert _choice(project) == ("carry", "a-large-one"), "the project's own"
    commands.set_backbone(project, "far")
    assert _choice(project) == ("carry", "far"), "the project's model fits: whether it is here is said later"
    commands.set_backbone(project, "/models/my-own")
    assert _choice(project) == ("carry", "/models/my-own"), "nobody here knows what it is"
    commands.set_backbone(project, "pocket-sd")
    commands.set_range(project, 1, 20)
    assert _choice(project) == ("st-modulator", "pocket-sd"), "no reference has a part in it"
    commands.set_range(project, 0, 20)
    assert edit_request(project, "", KNOWN, with_references=False).method == "st-modulator"


def _choice(project: Project) -> tuple[str, str]:
    request = edit_request(project, "", KNOWN)
    return request.method, request.backbone


def test_auto_keeps_the_model_where_none_fits() -> None:
    known = Known((LAYOUT, CARRY), (POCKET, FAR))
    assert choose("auto", "pocket-sd", known, with_references=True) == Choice("carry", "pocket-sd")


def test_a_method_without_references_is_not_silently_rendered(project: Project) -> None:
    painted(project)
    refer(project, 5)
    refer(project, 7)
    commands.set_method(project, "st-modulator")
    with pytest.raises(
        ReferencesUnusedError, match="would leave the 2 references unused; choose Auto"
    ) as caught:
        edit_request(project, "", KNOWN)
    assert caught.value.auto_helps
    request = edit_request(project, "", KNOWN, with_references=False)
    assert (request.references, request.remarks) == ((), ())


def test_a_backend_without_such_a_method_is_said(project: Project) -> None:
    painted(project)
    refer(project, 5)
    known = Known((LAYOUT, replace(CARRY, available=False)), (POCKET,))
    with pytest.raises(
        ReferencesUnusedError, match="the reference unused; this version of the backend"
    ) as caught:
        edit_request(project, "", known)
    assert not caught.value.auto_helps


def test_a_method_on_a_model_of_another_family_names_one_that_fits(project: Project) -> None:
    painted(project)
    commands.set_method(project, "carry")
    with pytest.raises(
        WrongModelError, match="“Carry” does not run on the model pocket-sd; choose clip"
    ) as caught:
        edit_request(project, "", KNOWN)
    assert caught.value.fitting == "clip"
    with pytest.raises(WrongModelError, match="this machine has none that it runs on"):
        edit_request(project, "", Known((CARRY,), (POCKET, FAR)))
    refer(project, 0)
    commands.set_backbone(project, "clip")
    assert _choice(project) == ("carry", "clip")


def test_what_is_carried_on_needs_a_first_frame(project: Project) -> None:
    painted(project)
    painted(project, "right", "a star")
    commands.set_method(project, "carry")
    commands.set_backbone(project, "clip")
    with pytest.raises(
        FirstReferenceError, match=r"there is none between in and out; add .* in point, frame 0"
    ):
        edit_request(project, "", KNOWN)
    refer(project, 2, 0)
    refer(project, 7, 1)
    commands.set_range(project, 2, 20)
    with pytest.raises(
        FirstReferenceError, match="“right” has a reference at frame 7 and none at the in point"
    ):
        edit_request(project, "", KNOWN)
    refer(project, 2, 1)
    assert len(edit_request(project, "", KNOWN).references) == 3
    commands.set_range(project, 3, 20)
    with pytest.raises(FirstReferenceError) as caught:
        edit_request(project, "", KNOWN)
    assert caught.value.frame == 3


def test_parameters_of_another_method_are_not_sent(project: Project) -> None:
    painted(project)
    commands.set_parameter(project, "steps", 9)
    commands.set_parameter(project, "blend", False)
    commands.set_parameter(project, "misspelt", 1)
    assert edit_request(project, "", KNOWN).params == {"steps": 9, "blend": False, "misspelt": 1}
    refer(project, 0)
    assert edit_request(project, "", KNOWN).params == {"steps": 9, "misspelt": 1}, (
        "the backend says what is wrong"
    )
    commands.set_method(project, "of an edit file")
    assert len(edit_request(project, "", KNOWN).params) == 3


def test_more_references_than_an_edit_carries_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_edit_request, "MAX_PICTURE_BYTES", 3 << 20)
    project = Project()
    commands.set_clip(project, ClipRef(Path("/c.mp4"), 1024, 341, 20, Fraction(25)))
    region = commands.add_region(project, "left", "a star")
    commands.fill_mask(project, region, 0)
    for frame in range(4):
        refer(project, frame)
    commands.set_range(project, 0, 3)
    assert len(edit_request(project, "", KNOWN).references) == 3
    commands.set_range(project, 0, 4)
    with pytest.raises(IncompleteEditError, match="The 4 references take 3 MiB, and an edit carries 3"):
        edit_request(project, "", KNOWN)
