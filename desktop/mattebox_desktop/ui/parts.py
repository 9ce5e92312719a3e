"""Small pieces that several panels are made of."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QToolButton, QWidget

from mattebox_desktop.ui.icons import show_icon

PANEL_MARGIN = 12


def quiet(text: str, parent: QWidget | None = None) -> QLabel:
    """Secondary text, wrapped."""
    label = QLabel(text, parent)
    label.setProperty("quiet", True)
    label.setWordWrap(True)
    return label


def heading(text: str, parent: QWidget | None = None) -> QLabel:
    label = QLabel(text, parent)
    label.setProperty("heading", True)
    return label


def rule(parent: QWidget | None = None) -> QFrame:
    line = QFrame(parent)
    line.setProperty("rule", True)
    return line


def tool_button(name: str, words: str, parent: QWidget | None = None) -> QToolButton:
    """An icon button of 28 pixels; `words` is its tooltip and its name for a screen reader."""
    button = QToolButton(parent)
    show_icon(button, name)
    button.setIconSize(QSize(16, 16))
    button.setFixedSize(28, 28)
    button.setToolTip(words)
    button.setAccessibleName(words)
    button.setCursor(Qt.CursorShape.ArrowCursor)
    return button


def stretch(parent: QWidget | None = None) -> QWidget:
    """Takes what room is left in a toolbar."""
    spacer = QWidget(parent)
    spacer.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    return spacer


def restyle(widget: QWidget, name: str, value: object) -> None:
    """Sets a property that the style sheet looks at."""
    if widget.property(name) != value:
        widget.setProperty(name, value)
        widget.style().unpolish(widget)
        widget.style().polish(widget)
