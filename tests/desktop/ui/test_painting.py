"""Painting with real mouse events, and what undo makes of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from mattebox_desktop.app import Desktop
from mattebox_desktop.model import commands
from mattebox_desktop.model.brush import Brush
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

Color = Callable[[float, float], tuple[int, int, int]]


@pytest.fixture(autouse=True)
def brush(opened: Desktop) -> None:
    opened.window.actions_.brush.trigger()
    opened.workspace.session.brush = Brush(20, 1.0)


def mask_of(desktop: Desktop, frame: int = 0) -> np.ndarray:
    region = desktop.workspace.session.region
    assert region is not None
    mask = region.masks.mask_at(frame)
    assert mask is not None
    return mask


def test_first_stroke_makes_a_region_and_one_undo_step(opened: Desktop, pen) -> None:
    pen.stroke((40, 80), (60, 80), (80, 80))
    project = opened.workspace.project
    assert [region.name for region in project.regions] == ["Region A"]
    mask = mask_of(opened)
    assert mask[80, 40] == mask[80, 60] == mask[80, 80] == 255
    assert mask[100, 60] == 0
    assert opened.window.actions_.undo.text() == "Undo brush stroke"
    opened.window.actions_.undo.trigger()
    assert len(project.regions) == 0
    opened.window.actions_.redo.trigger()
    assert project.regions[0].masks.mask_at(0)[80, 60] == 255


def test_stroke_shows_under_the_pen_before_it_ends(pen, shown: Color) -> None:
    before = shown(60, 100)
    pen.stroke((50, 100), (70, 100), release=False)
    during = shown(52, 96)
    assert during != before, "the tint is there while the button is down"
    QTest.mouseRelease(pen.viewer, Qt.MouseButton.LeftButton, pos=pen.at(70, 100))


def test_second_stroke_goes_into_the_chosen_region(opened: Desktop, pen) -> None:
    pen.stroke((40, 80))
    pen.stroke((100, 30))
    assert len(opened.workspace.project.regions) == 1
    opened.window.actions_.undo.trigger()
    assert mask_of(opened)[30, 100] == 0
    assert mask_of(opened)[80, 40] == 255


def test_eraser_and_alt_take_paint_away(opened: Desktop, pen) -> None:
    pen.stroke((40, 80), (120, 80))
    pen.stroke((60, 80), modifier=Qt.KeyboardModifier.AltModifier)
    opened.window.actions_.erase.trigger()
    pen.stroke((100, 80))
    mask = mask_of(opened)
    assert mask[80, 60] == mask[80, 100] == 0
    assert mask[80, 80] == 255


def test_erasing_where_nothing_is_painted_is_no_step(opened: Desktop, pen) -> None:
    title = opened.workspace.project.changes.undo_title
    opened.window.actions_.erase.trigger()
    pen.stroke((60, 80), (80, 80))
    assert opened.workspace.project.changes.undo_title == title
    assert len(opened.workspace.project.regions) == 0


def test_escape_takes_the_stroke_under_the_pen_back(opened: Desktop, pen) -> None:
    pen.stroke((40, 80))
    before = mask_of(opened).copy()
    pen.stroke((90, 30), (110, 60), release=False)
    opened.window.viewer.setFocus()
    QTest.keyClick(opened.window.viewer, Qt.Key.Key_Escape)
    np.testing.assert_array_equal(mask_of(opened), before)
    QTest.mouseRelease(pen.viewer, Qt.MouseButton.LeftButton, pos=pen.at(110, 60))
    assert not opened.workspace.project.changes.busy


def test_undo_during_a_stroke_changes_nothing(opened: Desktop, pen) -> None:
    pen.stroke((40, 80))
    pen.stroke((90, 30), (110, 60), release=False)
    opened.window.commands.undo()
    QTest.mouseRelease(pen.viewer, Qt.MouseButton.LeftButton, pos=pen.at(110, 60))
    assert mask_of(opened)[60, 110] == 255


def test_box_fills_what_was_dragged(opened: Desktop, pen) -> None:
    opened.window.actions_.box.trigger()
    pen.stroke((20, 20), (60, 50), (100, 90))
    mask = mask_of(opened)
    assert mask[30, 30] == mask[80, 90] == 255
    assert mask[95, 105] == 0
    assert (mask > 0).sum() == pytest.approx(80 * 70, rel=0.05)


def test_painted_mask_is_held_on_later_frames(opened: Desktop, pen) -> None:
    opened.workspace.go_to(4)
    pen.stroke((60, 60))
    region = opened.workspace.project.regions[0]
    assert region.masks.mask_at(3) is None
    assert mask_of(opened, 11)[60, 60] == 255
    opened.window.actions_.hold_range.trigger()
    assert mask_of(opened, 0)[60, 60] == 255
    opened.window.actions_.undo.trigger()
    assert region.masks.mask_at(0) is None


def test_select_tool_chooses_the_topmost_region_under_it(opened: Desktop, pen) -> None:
    pen.stroke((40, 80))
    first = opened.workspace.project.regions[0]
    second = commands.add_region(opened.workspace.project)
    opened.workspace.session.region = second
    pen.stroke((50, 80))
    opened.window.actions_.select.trigger()
    pen.stroke((36, 80))
    assert opened.workspace.session.region is first
    pen.stroke((46, 80))
    assert opened.workspace.session.region is second
    pen.stroke((120, 20))
    assert opened.workspace.session.region is None


def test_hidden_masks_are_not_drawn(opened: Desktop, pen, shown: Color) -> None:
    before = shown(60, 100)
    pen.stroke((50, 100), (70, 100))
    pen.viewer.leaveEvent(None)
    assert shown(60, 100) != before
    opened.window.viewer.setFocus()
    opened.window.actions_.masks.trigger()
    assert shown(60, 100) == before


@pytest.mark.parametrize(
    ("key", "attribute", "larger"),
    [("]", "size", True), ("[", "size", False), ("}", "hardness", True), ("{", "hardness", False)],
)
def test_bracket_keys_change_the_brush(opened: Desktop, key: str, attribute: str, larger: bool) -> None:
    session = opened.workspace.session
    session.brush = Brush(20, 0.5)
    before = getattr(session.brush, attribute)
    opened.window.activateWindow()
    opened.window.viewer.setFocus()
    QTest.keyClicks(opened.window.viewer, key)
    after = getattr(session.brush, attribute)
    assert (after > before) is larger
    assert after != before
    assert opened.window.tools.size_field.value() == round(session.brush.size)
