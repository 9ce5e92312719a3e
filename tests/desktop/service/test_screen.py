from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mattebox_desktop.service.frames import FrameSource
from mattebox_desktop.service.screen import Screen
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot


@pytest.fixture
def screen(qtbot: QtBot) -> Iterator[Screen]:
    made = Screen()
    yield made
    made.close()


def test_a_frame_of_a_clip_that_was_closed_is_not_shown(screen: Screen, qtbot: QtBot) -> None:
    owner = QObject()
    first, second = (FrameSource(Path(name), parent=owner) for name in ("first.mkv", "second.mkv"))
    frame = np.zeros((4, 4, 3), np.uint8)
    screen.set_source(first)
    with qtbot.waitSignal(screen.frame_ready, timeout=1000):
        first.frame.emit(0, frame)
    screen.set_source(second)
    with qtbot.assertNotEmitted(screen.frame_ready):
        first.frame.emit(1, frame)
    with qtbot.waitSignal(screen.frame_ready, timeout=1000) as shown:
        second.frame.emit(2, frame + 1)
    assert shown.args is not None
    assert shown.args[0] == 2
