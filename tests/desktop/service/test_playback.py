"""The playback clock."""

from __future__ import annotations

from fractions import Fraction

import pytest
from mattebox_desktop.service import playback as module
from mattebox_desktop.service.playback import Playback
from pytestqt.qtbot import QtBot


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("speed", "seconds", "frame"),
    [(1, 0.0, 4), (1, 0.2, 9), (2, 0.2, 4), (1, 0.32, 2), (-1, 0.12, 11), (-4, 0.04, 10)],
)
def test_frame_follows_the_clock_and_goes_round_between_in_and_out(
    qtbot: QtBot, clock: list[float], speed: int, seconds: float, frame: int
) -> None:
    playback = Playback()
    playback.set_range(2, 12, Fraction(25))
    due: list[int] = []
    playback.moved.connect(due.append)
    playback.play(4, speed)
    clock[0] += seconds + 1e-6
    playback._tick()
    playback.stop()
    assert due[-1] == frame


def test_playing_from_outside_begins_at_the_in_point(qtbot: QtBot, clock: list[float]) -> None:
    playback = Playback()
    playback.set_range(5, 8, Fraction(25))
    due: list[int] = []
    playback.moved.connect(due.append)
    playback.play(0)
    playback._tick()
    playback.stop()
    assert due == [5]
