"""What the desktop remembers between two runs: layout, theme, last folder."""

from __future__ import annotations

from pathlib import Path

from mattebox_proto.paths import folders
from PySide6.QtCore import QSettings


def preferences() -> QSettings:
    """Settings in the platform's configuration folder, as an ini file."""
    return QSettings(str(folders().config / "desktop.ini"), QSettings.Format.IniFormat)


def last_folder() -> str:
    """Where the user opened or saved something last; their home at first."""
    kept = preferences().value("folder")
    return kept if isinstance(kept, str) and Path(kept).is_dir() else str(Path.home())
