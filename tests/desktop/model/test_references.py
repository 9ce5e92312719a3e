"""References: one undo step for each thing a user does, and never one without its region."""

from __future__ import annotations

import numpy as np
import pytest
from mattebox_desktop.model import commands
from mattebox_desktop.model.errors import ModelError, PictureError, RangeError
from mattebox_desktop.model.history import History
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.reference import Picture, Reference
from mattebox_desktop.model.reference_commands import (
    add_reference,
    bind_reference,
    can_move,
    move_reference,
    remove_reference,
    replace_picture,
)
from mattebox_desktop.model.region import Region


def shade(value: int, source: str = "") -> Picture:
    return Picture(np.full((48, 64, 3), value, np.uint8), source)


@pytest.fixture
def regions(project: Project) -> tuple[Region, Region]:
    return commands.add_region(project, "left"), commands.add_region(project, "right")


def content(project: Project) -> list[tuple[int, str, int]]:
    return [(r.frame, r.region.name, int(r.picture.pixels[0, 0, 0])) for r in project.references]


def test_each_thing_is_one_undo_step(project: Project, regions: tuple[Region, Region]) -> None:
    left, right = regions
    states = [content(project)]
    reference = add_reference(project, 4, left, shade(10))
    states.append(content(project))
    for act in (
        lambda: replace_picture(project, reference, shade(20)),
        lambda: move_reference(project, reference, 9),
        lambda: bind_reference(project, reference, right),
        lambda: remove_reference(project, reference),
    ):
        act()
        states.append(content(project))
    assert states[-2:] == [[(9, "right", 20)], []]
    titles = []
    for state in reversed(states[:-1]):
        titles.append(project.changes.undo())
        assert content(project) == state
    assert titles == [
        "Remove reference",
        "Bind reference to right",
        "Move reference",
        "Change reference",
        "Add reference",
    ]
    for state in states[1:]:
        project.changes.redo()
        assert content(project) == state


def test_a_regions_references_go_and_come_with_it(project: Project, regions: tuple[Region, Region]) -> None:
    left, right = regions
    for frame, region in ((3, left), (5, right), (7, left)):
        add_reference(project, frame, region, shade(frame))
    commands.remove_region(project, left)
    assert content(project) == [(5, "right", 5)]
    assert project.changes.undo() == "Delete left"
    assert content(project) == [(3, "left", 3), (5, "right", 5), (7, "left", 7)]
    assert [region.name for region in project.regions] == ["left", "right"]


def test_a_region_has_one_reference_at_a_frame(project: Project, regions: tuple[Region, Region]) -> None:
    left, right = regions
    first = add_reference(project, 4, left, shade(1))
    assert add_reference(project, 4, left, shade(2)) is first
    other = add_reference(project, 4, right, shade(3))
    later = add_reference(project, 8, left, shade(4))
    assert content(project) == [(4, "left", 2), (4, "right", 3), (8, "left", 4)]
    assert not can_move(project, later, 4)
    with pytest.raises(RangeError, match="“left” has a reference at frame 4 already"):
        move_reference(project, later, 4)
    with pytest.raises(RangeError, match="“left” has a reference at frame 4 already"):
        bind_reference(project, other, left)
    assert [r.region.name for r in project.references_at(4)] == ["right", "left"], "the topmost first"
    assert project.references_of(left) == [first, later]


@pytest.mark.parametrize("frame", [-1, 20, 400])
def test_a_frame_outside_the_clip_is_refused(
    project: Project, regions: tuple[Region, Region], frame: int
) -> None:
    said = f"Frame {frame} is outside the clip; .* 0 to 19"
    with pytest.raises(RangeError, match=said):
        add_reference(project, frame, regions[0], shade(1))
    reference = add_reference(project, 19, regions[0], shade(1))
    assert not can_move(project, reference, frame)
    with pytest.raises(RangeError, match=said):
        move_reference(project, reference, frame)
    assert reference.frame == 19


def test_what_is_gone_is_said(project: Project, regions: tuple[Region, Region]) -> None:
    left, right = regions
    reference = add_reference(project, 1, left, shade(1))
    commands.remove_region(project, left)
    with pytest.raises(RangeError, match="The region “left” is gone"):
        add_reference(project, 2, left, shade(1))
    for act in (
        lambda: replace_picture(project, reference, shade(2)),
        lambda: move_reference(project, reference, 2),
        lambda: bind_reference(project, reference, right),
        lambda: remove_reference(project, reference),
    ):
        with pytest.raises(
            RangeError, match=r"^The reference of “left” at frame 1 is gone; undo brings it back"
        ):
            act()
    assert int(reference.picture.pixels[0, 0, 0]) == 1


def test_a_picture_of_another_size_is_refused(project: Project, regions: tuple[Region, Region]) -> None:
    small = Picture(np.zeros((24, 32, 3), np.uint8))
    reference = add_reference(project, 1, regions[0], shade(1))
    with pytest.raises(PictureError, match="is 32×24 pixels and the clip is 64×48"):
        add_reference(project, 2, regions[0], small)
    with pytest.raises(PictureError, match="is 32×24 pixels and the clip is 64×48"):
        replace_picture(project, reference, small)
    with pytest.raises(ValueError, match="uint8"):
        Picture(np.zeros((48, 64, 3), np.float32))  # type: ignore[arg-type]


def test_a_picture_is_not_written_into(project: Project, regions: tuple[Region, Region]) -> None:
    with pytest.raises(ValueError, match="read-only"):
        shade(3).pixels[0, 0] = 9


def test_versions_that_come_quickly_are_one_step(project: Project, regions: tuple[Region, Region]) -> None:
    now = [0.0]
    project.changes._clock = lambda: now[0]
    reference = add_reference(project, 4, regions[0], shade(10))
    now[0] = 10
    for value in (20, 30):
        now[0] += 1
        replace_picture(project, reference, shade(value))
    now[0] = 60
    replace_picture(project, reference, shade(40))
    project.changes.undo()
    assert content(project) == [(4, "left", 30)]
    project.changes.undo()
    assert content(project) == [(4, "left", 10)]


def test_kept_pictures_count_towards_what_undo_may_weigh(regions: object, project: Project) -> None:
    weight = 48 * 64 * 3
    heavy = Project(History(limit_bytes=4 * weight))
    assert project.clip is not None
    commands.set_clip(heavy, project.clip)
    region = commands.add_region(heavy, "left")
    heavy.changes._clock = iter(range(0, 10_000, 10)).__next__  # type: ignore[assignment]
    reference = add_reference(heavy, 4, region, shade(0))
    for value in range(1, 9):
        replace_picture(heavy, reference, shade(value))
    undone = 0
    while heavy.changes.undo_title is not None:
        heavy.changes.undo()
        undone += 1
    assert undone == 3, "four pictures are more than the limit, with what else a step weighs"
    removed = Reference(None, 0, region, shade(1))
    with heavy.changes.transaction("Add") as added:
        heavy.references.append(removed)
        light = added.nbytes
    with heavy.changes.transaction("Remove") as taken:
        heavy.references.remove(removed)
        assert taken.nbytes == light + weight


def test_errors_of_the_model_take_nothing_back_but_their_own(
    project: Project, regions: tuple[Region, Region]
) -> None:
    before = project.changes.undo_title
    with pytest.raises(ModelError):
        add_reference(project, 99, regions[0], shade(1))
    assert project.changes.undo_title == before
