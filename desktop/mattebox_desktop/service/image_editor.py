"""The program that pictures are edited in: the user's choice, or what the system opens pictures with."""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtCore import QProcess, QUrl
from PySide6.QtGui import QDesktopServices

from mattebox_desktop.service.preferences import preferences

_KEY = "image_editor"


def image_editor() -> str:
    """The program that the user chose; "" is the system's own choice."""
    kept = preferences().value(_KEY)
    return kept if isinstance(kept, str) else ""


def set_image_editor(program: str) -> None:
    preferences().setValue(_KEY, program.strip())


def open_in_editor(path: Path) -> bool:
    """Whether a program was found that opens the picture."""
    program = image_editor()
    if not program:
        return bool(QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))))
    if sys.platform == "darwin" and program.endswith(".app"):
        return _started("open", ["-a", program, str(path)])
    return _started(program, [str(path)])


def _started(program: str, arguments: list[str]) -> bool:
    # With a process id the call returns a pair, without one a bare bool, as PySide's versions go.
    answer = QProcess.startDetached(program, arguments)
    return bool(answer[0] if isinstance(answer, tuple) else answer)
