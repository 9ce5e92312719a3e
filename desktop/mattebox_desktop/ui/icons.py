"""Icons from Phosphor (through qtawesome), in the palette's colours."""

from __future__ import annotations

import qtawesome
from PySide6.QtGui import QIcon

from mattebox_desktop.ui import palette


def icon(name: str, color: str | None = None) -> QIcon:
    """A Phosphor icon, by its name on phosphoricons.com; quiet when disabled."""
    made: QIcon = qtawesome.icon(
        f"ph.{name}", color=color or palette.current.text, color_disabled=palette.current.line
    )
    return made
