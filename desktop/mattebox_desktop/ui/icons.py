"""Icons from Phosphor (through qtawesome), in the palette's colours."""

from __future__ import annotations

import qtawesome
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QLabel, QToolButton, QWidget

from mattebox_desktop.ui import palette


def icon(name: str, color: str | None = None) -> QIcon:
    """A Phosphor icon, by its name on phosphoricons.com; quiet when disabled."""
    made: QIcon = qtawesome.icon(
        f"ph.{name}", color=color or palette.current.text, color_disabled=palette.current.line
    )
    return made


def show_icon(widget: QToolButton | QLabel, name: str) -> None:
    """Shows an icon that `repaint_icons` makes again in another palette's colours."""
    widget.setProperty(_NAME, name)
    if isinstance(widget, QLabel):
        widget.setPixmap(icon(name).pixmap(16, 16))
    else:
        widget.setIcon(icon(name))


def repaint_icons(window: QWidget) -> None:
    """Makes the icons of everything in the window again, in the palette that is now in use."""
    widgets: list[QToolButton | QLabel] = [*window.findChildren(QToolButton), *window.findChildren(QLabel)]
    for widget in widgets:
        name = widget.property(_NAME)
        if name:
            show_icon(widget, name)


_NAME = "icon_name"
