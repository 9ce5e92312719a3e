"""The playback clock: turns time into frames. When decoding is slower than the clip, frames are left out."""

from __future__ import annotations

import time
from fractions import Fraction

from PySide6.QtCore import QObject, Qt, QTimer, Signal

SPEEDS = (1, 2, 4, 8)


class Playback(QObject):
    """Plays between the in and out points, round and round, forwards or backwards.

    Signals: `moved(frame)` whenever another frame is due; `speed_changed(speed)`, 0 when it stands.
    """

    moved = Signal(int)
    speed_changed = Signal(int)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.speed = 0
        self._rate = Fraction(25)
        self._start, self._stop = 0, 1
        self._from = 0
        self._began = 0.0
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)

    def set_range(self, start: int, stop: int, rate: Fraction) -> None:
        """Frames [start, stop) at `rate` frames per second."""
        self._start, self._stop, self._rate = start, max(start + 1, stop), rate

    def play(self, frame: int, speed: int = 1) -> None:
        """Plays from `frame`; a negative speed goes backwards."""
        if not self._start <= frame < self._stop:
            frame = self._start if speed > 0 else self._stop - 1
        self._from, self._began = frame, time.monotonic()
        self._set_speed(speed)
        self._timer.start(max(4, int(500 / float(self._rate * abs(speed)))))

    def faster(self, frame: int, direction: int) -> None:
        """J and L: starts in that direction, or doubles the speed that it has in it."""
        if self.speed * direction > 0:
            index = SPEEDS.index(abs(self.speed))
            self.play(frame, direction * SPEEDS[min(index + 1, len(SPEEDS) - 1)])
        else:
            self.play(frame, direction)

    def stop(self) -> None:
        self._timer.stop()
        self._set_speed(0)

    def toggle(self, frame: int) -> None:
        if self.speed:
            self.stop()
        else:
            self.play(frame)

    def _set_speed(self, speed: int) -> None:
        if speed != self.speed:
            self.speed = speed
            self.speed_changed.emit(speed)

    def _tick(self) -> None:
        passed = int((time.monotonic() - self._began) * float(self._rate) * self.speed)
        length = self._stop - self._start
        self.moved.emit(self._start + (self._from - self._start + passed) % length)
