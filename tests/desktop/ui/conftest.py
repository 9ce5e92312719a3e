"""The real desktop, with a small real clip; a test that leaves something behind fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mattebox_desktop import app
from mattebox_desktop.app import Desktop
from mattebox_desktop.ui.viewer import Viewer
from mattebox_media import write_clip
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

WIDTH, HEIGHT, FRAMES = 160, 120, 12

# The offscreen platform says this of every window with a minimum size; it has no window manager to tell.
_ALLOWED = "This plugin does not support propagateSizeHints"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.qt_log_ignore(_ALLOWED))


def frame(index: int) -> np.ndarray:
    """A grey ramp with a bright square that moves two pixels a frame."""
    picture = np.repeat(np.linspace(40, 160, WIDTH, dtype=np.uint8)[None, :, None], HEIGHT, 0).repeat(3, 2)
    picture[40:60, 20 + 2 * index : 40 + 2 * index] = (250, 60, 20)
    return picture


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings, recovery files and logs go to a folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MATTEBOX_HOME", str(folder))
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "square.mkv"
    write_clip(path, (frame(i) for i in range(FRAMES)), fps=Fraction(24))
    return path


@pytest.fixture
def desktop(qtbot: QtBot, home: Path) -> Iterator[Desktop]:
    """The desktop, shown, without a backend; it is closed and must leave no thread and no window."""
    before = set(threading.enumerate())
    made = app.build()
    made.window.resize(1200, 800)
    made.window.show()
    qtbot.waitExposed(made.window)
    yield made
    made.workspace.project.changes.mark_saved()
    made.window.close()
    made.window.deleteLater()
    made.workspace.deleteLater()
    QApplication.sendPostedEvents(None, 0)
    QApplication.processEvents()
    left = [t.name for t in threading.enumerate() if t not in before and not t.name.startswith("ThreadPool")]
    assert not left, f"threads left running: {left}"
    windows = [w for w in QApplication.topLevelWidgets() if w.isVisible()]
    assert not windows, f"windows left open: {windows}"


@pytest.fixture
def opened(desktop: Desktop, clip: Path, qtbot: QtBot) -> Desktop:
    """The desktop with the clip open and its first frame shown."""
    with qtbot.waitSignal(desktop.workspace.screen.frame_ready, timeout=10_000):
        desktop.window.commands.open_path(clip)
    return desktop


class Pen:
    """Moves the mouse in the viewer, in pixels of the frame."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def at(self, x: float, y: float) -> QPoint:
        return self.viewer.view.to_view(x, y).toPoint()

    def stroke(
        self,
        *points: tuple[float, float],
        modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
        button: Qt.MouseButton = Qt.MouseButton.LeftButton,
        release: bool = True,
    ) -> None:
        QTest.mousePress(self.viewer, button, modifier, self.at(*points[0]))
        for point in points[1:]:
            QTest.mouseMove(self.viewer, self.at(*point))
        if release:
            QTest.mouseRelease(self.viewer, button, modifier, self.at(*points[-1]))


@pytest.fixture
def pen(opened: Desktop) -> Pen:
    return Pen(opened.window.viewer)


@pytest.fixture
def shown(opened: Desktop) -> Callable[[float, float], tuple[int, int, int]]:
    """The colour that the viewer shows at a pixel of the frame."""

    def color(x: float, y: float) -> tuple[int, int, int]:
        viewer = opened.window.viewer
        image = viewer.grab().toImage()
        picked = image.pixelColor(viewer.view.to_view(x, y).toPoint())
        return picked.red(), picked.green(), picked.blue()

    return color
