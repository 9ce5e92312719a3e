"""Scrubbing, in and out, playback keys."""

from __future__ import annotations

import numpy as np
import pytest
from mattebox_desktop.app import Desktop
from mattebox_desktop.ui import commands_of_window
from mattebox_desktop.ui import timeline_painting as painting
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMessageBox
from pytestqt.qtbot import QtBot

LEFT = Qt.MouseButton.LeftButton


def point(desktop: Desktop, frame: float, y: float = painting.RULER + 20) -> QPoint:
    return QPoint(round(desktop.window.timeline.scale.x(frame)), round(y))


def test_dragging_scrubs_and_shows_that_very_frame(opened: Desktop, qtbot: QtBot) -> None:
    timeline = opened.window.timeline
    shown: list[tuple[int, np.ndarray]] = []
    opened.workspace.screen.frame_ready.connect(lambda index, source, _: shown.append((index, source)))
    QTest.mousePress(timeline, LEFT, pos=point(opened, 2.5))
    for frame in (4.5, 6.5, 9.5):
        QTest.mouseMove(timeline, point(opened, frame))
    QTest.mouseRelease(timeline, LEFT, pos=point(opened, 9.5))
    assert opened.workspace.session.frame == 9
    qtbot.waitUntil(lambda: bool(shown) and shown[-1][0] == 9)
    assert tuple(shown[-1][1][50, 20 + 2 * 9 + 10]) == (250, 60, 20)
    assert opened.window.transport.clock.text() == "00:00:00:09"


def test_in_and_out_handles_are_one_undo_step_each(opened: Desktop) -> None:
    timeline, project = opened.window.timeline, opened.workspace.project
    ruler = painting.RULER / 2
    QTest.mousePress(timeline, LEFT, pos=point(opened, 0, ruler))
    for frame in (1, 2, 3):
        QTest.mouseMove(timeline, point(opened, frame, ruler))
    QTest.mouseRelease(timeline, LEFT, pos=point(opened, 3, ruler))
    assert (project.in_point, project.out_point) == (3, 12)
    opened.window.actions_.undo.trigger()
    assert project.in_point == 0


def test_another_button_during_a_drag_of_the_in_handle_leaves_nothing_open(opened: Desktop) -> None:
    timeline, project = opened.window.timeline, opened.workspace.project
    ruler, middle = painting.RULER / 2, Qt.MouseButton.MiddleButton
    QTest.mousePress(timeline, LEFT, pos=point(opened, 0, ruler))
    QTest.mouseMove(timeline, point(opened, 3, ruler))
    QTest.mousePress(timeline, middle, pos=point(opened, 3, ruler))
    QTest.mouseRelease(timeline, middle, pos=point(opened, 3, ruler))
    QTest.mouseRelease(timeline, LEFT, pos=point(opened, 3, ruler))
    assert not project.changes.busy
    assert project.in_point == 3
    opened.window.actions_.undo.trigger()
    assert project.in_point == 0


def test_leaving_during_a_drag_of_the_in_handle_asks_about_it(
    opened: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeline, project = opened.window.timeline, opened.workspace.project
    project.changes.mark_saved()
    ruler = painting.RULER / 2
    QTest.mousePress(timeline, LEFT, pos=point(opened, 0, ruler))
    QTest.mouseMove(timeline, point(opened, 3, ruler))
    asked: list[str] = []
    answer = QMessageBox.StandardButton.Discard
    monkeypatch.setattr(commands_of_window, "ask_to_save", lambda name, _: (asked.append(name), answer)[1])
    opened.window.commands.new()
    assert asked == ["square"]
    assert not project.changes.busy
    QTest.mouseRelease(timeline, LEFT, pos=point(opened, 3, ruler))
    assert not opened.workspace.project.changes.busy


def test_in_handle_cannot_pass_the_out_handle(opened: Desktop) -> None:
    timeline, project = opened.window.timeline, opened.workspace.project
    ruler = painting.RULER / 2
    QTest.mousePress(timeline, LEFT, pos=point(opened, 12, ruler))
    QTest.mouseMove(timeline, point(opened, -5, ruler))
    QTest.mouseRelease(timeline, LEFT, pos=point(opened, 0, ruler))
    assert (project.in_point, project.out_point) == (0, 1)


@pytest.mark.parametrize(
    ("key", "modifier", "frame"),
    [
        (Qt.Key.Key_Right, Qt.KeyboardModifier.NoModifier, 6),
        (Qt.Key.Key_Left, Qt.KeyboardModifier.NoModifier, 4),
        (Qt.Key.Key_Left, Qt.KeyboardModifier.ShiftModifier, 0),
        (Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier, 11),
        (Qt.Key.Key_Home, Qt.KeyboardModifier.NoModifier, 0),
        (Qt.Key.Key_End, Qt.KeyboardModifier.NoModifier, 11),
    ],
)
def test_keys_move_the_playhead(
    opened: Desktop, key: Qt.Key, modifier: Qt.KeyboardModifier, frame: int
) -> None:
    opened.workspace.go_to(5)
    opened.window.activateWindow()
    opened.window.viewer.setFocus()
    QTest.keyClick(opened.window.viewer, key, modifier)
    assert opened.workspace.session.frame == frame


def test_i_and_o_set_the_range_at_the_playhead(opened: Desktop) -> None:
    project = opened.workspace.project
    opened.window.activateWindow()
    opened.window.viewer.setFocus()
    opened.workspace.go_to(3)
    QTest.keyClick(opened.window.viewer, Qt.Key.Key_I)
    opened.workspace.go_to(8)
    QTest.keyClick(opened.window.viewer, Qt.Key.Key_O)
    assert (project.in_point, project.out_point) == (3, 9)
    assert opened.window.transport.out_field.value() == 8
    assert opened.window.edit.range_words.text() == "frames 3 to 8: 6 frames"


def test_j_k_l_play_and_stop(opened: Desktop, qtbot: QtBot) -> None:
    playback, viewer = opened.workspace.playback, opened.window.viewer
    opened.window.activateWindow()
    viewer.setFocus()
    QTest.keyClick(viewer, Qt.Key.Key_L)
    QTest.keyClick(viewer, Qt.Key.Key_L)
    assert playback.speed == 2
    qtbot.waitUntil(lambda: opened.workspace.session.frame > 0, timeout=5000)
    QTest.keyClick(viewer, Qt.Key.Key_J)
    assert playback.speed == -1
    QTest.keyClick(viewer, Qt.Key.Key_K)
    assert playback.speed == 0


def test_track_click_chooses_its_region(opened: Desktop) -> None:
    window, project = opened.window, opened.workspace.project
    window.regions.add()
    window.regions.add()
    bottom = window.timeline.row(1).center()
    QTest.mouseClick(window.timeline, LEFT, pos=QPoint(20, round(bottom.y())))
    assert opened.workspace.session.region is project.regions[0]


def test_filmstrip_fills_itself(opened: Desktop, qtbot: QtBot) -> None:
    timeline = opened.window.timeline
    wanted = {index for index, _ in timeline.strip()}
    assert wanted
    qtbot.waitUntil(lambda: wanted <= set(timeline._thumbnails), timeout=5000)


def test_zoom_keeps_the_frame_under_the_cursor(opened: Desktop) -> None:
    timeline = opened.window.timeline
    at = timeline.scale.x(6.0)
    timeline.zoom(4.0, at)
    assert timeline.scale.x(6.0) == pytest.approx(at)
    timeline.fit()
    assert timeline.scale.first == 0
