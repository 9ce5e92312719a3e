"""What the desktop remembers between two runs: layout, theme, last folder."""

from __future__ import annotations

from mattebox_proto.paths import folders
from PySide6.QtCore import QSettings


def preferences() -> QSettings:
    """Settings in the platform's configuration folder, as an ini file."""
    return QSettings(str(folders().config / "desktop.ini"), QSettings.Format.IniFormat)
