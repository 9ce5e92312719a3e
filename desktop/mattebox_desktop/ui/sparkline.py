"""A curve as a small line: its name and latest value above, the way it went below."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from mattebox_desktop.model.curve import Curve, figure_words
from mattebox_desktop.ui import palette

_WORDS = 16
_GAP = 4
_LINE = 20
_DOT = 2.5
"""Radius of the dot at the latest value; the line keeps that far from the edges."""


class Sparkline(QWidget):
    """One curve. Its width stands for all steps that there are to be: what is drawn grows to the right."""

    def __init__(self, curve: Curve, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.show_curve(curve)

    def show_curve(self, curve: Curve) -> None:
        self.curve = curve
        self.setToolTip(curve.words)
        self.setAccessibleName(curve.words)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(120, _WORDS + _GAP + _LINE)

    @property
    def line_area(self) -> QRectF:
        """Where the line may go."""
        area = QRectF(0, _WORDS + _GAP, self.width(), _LINE)
        return area.adjusted(_DOT, _DOT, -_DOT, -_DOT)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_words(painter)
        accent = QColor(palette.current.accent)
        points = self._line()
        painter.setPen(QPen(accent, 1.5, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
        painter.drawPolyline(points)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(accent)
        painter.drawEllipse(points.last(), _DOT, _DOT)

    def _paint_words(self, painter: QPainter) -> None:
        font = QFont(self.font())
        font.setPixelSize(12)
        painter.setFont(font)
        metrics, row = QFontMetrics(font), QRect(0, 0, self.width(), _WORDS)
        value = figure_words(self.curve.last[1])
        room = self.width() - metrics.horizontalAdvance(value) - 8
        name = metrics.elidedText(self.curve.name, Qt.TextElideMode.ElideRight, room)
        painter.setPen(QColor(palette.current.quiet))
        painter.drawText(row, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, name)
        painter.setPen(QColor(palette.current.text))
        painter.drawText(row, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, value)

    def _line(self) -> QPolygonF:
        area, points = self.line_area, self.curve.points
        values = [value for _, value in points]
        low, span = min(values), max(values) - min(values)
        steps = max(1, self.curve.of - 1)

        def place(step: int, value: float) -> QPointF:
            up = (value - low) / span if span > 0 else 0.5
            return QPointF(
                area.left() + (step - 1) / steps * area.width(), area.bottom() - up * area.height()
            )

        return QPolygonF([place(step, value) for step, value in points])


class Sparklines(QWidget):
    """The curves of one job or take, one below the other; hidden while there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.lines: dict[str, Sparkline] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(4)
        self.hide()

    def show_curves(self, curves: tuple[Curve, ...]) -> None:
        """A curve stays once it is there: a job forgets none."""
        for curve in curves:
            line = self.lines.get(curve.name)
            if line is None:
                line = self.lines[curve.name] = Sparkline(curve, self)
                self._column.addWidget(line)
            elif line.curve is not curve:
                line.show_curve(curve)
        self.setVisible(bool(self.lines))
