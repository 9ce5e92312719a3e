"""Zoom, pan and the wipe."""

from __future__ import annotations

import pytest
from mattebox_desktop.app import Desktop
from mattebox_desktop.model.session import Compare
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication


def wheel(widget, at: QPointF, steps: int, modifier=Qt.KeyboardModifier.NoModifier) -> None:
    event = QWheelEvent(
        at, at, QPoint(), QPoint(0, 120 * steps), Qt.MouseButton.NoButton, modifier,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(widget, event)


def test_frame_fits_and_lies_in_the_middle(opened: Desktop) -> None:
    viewer = opened.window.viewer
    frame = viewer.frame_rect
    assert frame.width() / frame.height() == pytest.approx(160 / 120)
    assert abs(frame.center().x() - viewer.width() / 2) <= 1
    assert frame.left() >= 0
    assert frame.top() >= 0


def test_zoom_keeps_the_pixel_under_the_cursor(opened: Desktop) -> None:
    viewer = opened.window.viewer
    at = viewer.view.to_view(50, 40)
    zoom = viewer.view.zoom
    wheel(viewer, at, 3, Qt.KeyboardModifier.ControlModifier)
    assert viewer.view.zoom == pytest.approx(zoom * 1.25**3)
    assert viewer.view.to_frame(at) == pytest.approx((50, 40))
    opened.window.actions_.fit.trigger()
    assert viewer.view.zoom == pytest.approx(zoom)


def test_space_and_the_middle_button_pan(opened: Desktop, pen) -> None:
    viewer = opened.window.viewer
    viewer.setFocus()
    start = QPointF(viewer.view.x, viewer.view.y)
    left = Qt.MouseButton.LeftButton
    QTest.keyPress(viewer, Qt.Key.Key_Space)
    QTest.mousePress(viewer, left, pos=QPoint(200, 200))
    QTest.mouseMove(viewer, QPoint(230, 210))
    QTest.mouseRelease(viewer, left, pos=QPoint(230, 210))
    QTest.keyRelease(viewer, Qt.Key.Key_Space)
    assert (viewer.view.x, viewer.view.y) == (start.x() + 30, start.y() + 10)
    pen.stroke((10, 10), (20, 10), button=Qt.MouseButton.MiddleButton)
    assert viewer.view.x > start.x() + 30
    assert len(opened.workspace.project.regions) == 0


def test_frame_shows_its_own_colours(shown) -> None:
    assert shown(30, 50) == (250, 60, 20)


@pytest.fixture
def compared(opened: Desktop) -> Desktop:
    """A blue take over the clip, compared by a wipe in the middle."""
    viewer, session = opened.window.viewer, opened.workspace.session
    take = QImage(160, 120, QImage.Format.Format_RGB888)
    take.fill(QColor(10, 20, 200))
    viewer.set_frame(viewer._source, take, "Take 1")
    session.compare = Compare.WIPE
    return opened


def test_wipe_shows_the_source_left_and_the_take_right(compared: Desktop, shown) -> None:
    assert shown(30, 50) == (250, 60, 20)
    assert shown(130, 100) == (10, 20, 200)


def test_wipe_handle_is_dragged(compared: Desktop, pen, shown) -> None:
    compared.window.actions_.brush.trigger()
    pen.stroke((80, 90), (60, 90), (20, 90))
    assert compared.workspace.session.wipe == pytest.approx(20 / 160, abs=0.02)
    assert len(compared.workspace.project.regions) == 0, "the handle is not painted over"
    assert shown(30, 50) == (10, 20, 200)


def test_before_shows_the_source_alone(compared: Desktop, shown) -> None:
    session = compared.workspace.session
    compared.window.commands._compare(Compare.SOURCE)
    assert shown(130, 100) != (10, 20, 200)
    compared.window.commands._compare(Compare.SOURCE)
    assert session.compare is Compare.OFF
    assert shown(130, 100) == (10, 20, 200)
