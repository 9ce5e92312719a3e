"""Numbers that can be typed, wheel-stepped and scrubbed by their label; the default is a double-click
away.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QDoubleSpinBox, QLabel, QSpinBox, QWidget

_PIXELS_PER_STEP = 4.0


def whole_number(low: int, high: int, unit: str = "", parent: QWidget | None = None) -> QSpinBox:
    """An integer field; it tells a value only once it is typed to its end."""
    field = QSpinBox(parent)
    field.setRange(low, high)
    _style(field, unit)
    return field


def real_number(
    low: float, high: float, decimals: int = 2, unit: str = "", parent: QWidget | None = None
) -> QDoubleSpinBox:
    field = QDoubleSpinBox(parent)
    field.setDecimals(decimals)
    field.setRange(low, high)
    field.setSingleStep(10.0 ** (1 - decimals))
    _style(field, unit)
    return field


def _style(field: QSpinBox | QDoubleSpinBox, unit: str) -> None:
    field.setSuffix(f" {unit}" if unit else "")
    field.setKeyboardTracking(False)
    field.lineEdit().setTextMargins(6, 0, 6, 0)
    # No setButtonSymbols(NoButtons): under a style sheet Qt then leaves the text one pixel.
    # The sheet hides the buttons.


class ScrubLabel(QLabel):
    """A field's label: drag it sideways to change the value; `reset` is emitted on a double-click."""

    reset = Signal()

    def __init__(self, text: str, field: QSpinBox | QDoubleSpinBox, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self._field = field
        self._last: float | None = None
        self._rest = 0.0
        self.setBuddy(field)
        self.setCursor(Qt.CursorShape.SizeHorCursor)
        self.setToolTip("Drag sideways to change, double-click for the default")

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._last, self._rest = event.position().x(), 0.0

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._last is None:
            return
        self._rest += event.position().x() - self._last
        self._last = event.position().x()
        steps = int(self._rest / _PIXELS_PER_STEP)
        if steps:
            self._rest -= steps * _PIXELS_PER_STEP
            self._field.stepBy(steps)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._last = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.reset.emit()
