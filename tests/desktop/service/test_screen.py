from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mattebox_desktop.model.project import Take
from mattebox_desktop.service.frames import FrameSource
from mattebox_desktop.service.screen import Screen
from mattebox_media import MediaError, write_clip
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


def test_a_slow_decoder_is_not_overtaken_by_the_playhead(
    screen: Screen, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "take.mkv"
    write_clip(path, (np.full((16, 16, 3), 20 * i, np.uint8) for i in range(10)), fps=Fraction(24))
    slow = FrameSource(Path("source.mkv"), parent=screen)  # never started: the test decodes for it
    asked: list[int] = []
    slow.request = asked.append  # type: ignore[method-assign]
    shown: list[tuple[int, int]] = []
    screen.frame_ready.connect(lambda index, source, take: shown.append((index, int(take[0, 0, 0]))))
    screen.set_source(slow)
    screen.set_take(Take("t", "Take 1", path, 0, 10, 0, "", ""))
    frame = np.zeros((16, 16, 3), np.uint8)
    slow.frame.emit(0, frame)
    qtbot.waitUntil(lambda: shown == [(0, 0)], timeout=10_000)
    for wanted in (1, 2, 3, 4):
        screen.request(wanted)
    slow.frame.emit(1, frame)
    qtbot.waitUntil(lambda: shown[-1] == (1, 20), timeout=10_000)
    slow.frame.emit(4, frame)
    qtbot.waitUntil(lambda: shown[-1] == (4, 80), timeout=10_000)
    assert asked == [0, 1, 4]


def test_a_damaged_frame_does_not_hold_up_the_next(screen: Screen, qtbot: QtBot) -> None:
    source = FrameSource(Path("source.mkv"), parent=screen)
    asked: list[int] = []
    source.request = asked.append  # type: ignore[method-assign]
    screen.set_source(source)
    screen.request(1)
    screen.request(2)
    with qtbot.waitSignal(screen.source_failed, timeout=1000):
        source.failed.emit(MediaError("frame 1 is damaged"))
    assert asked == [1, 2]
