"""The desktop application: built here for `mattebox`, for the tests and for the screenshots alike."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from mattebox_desktop.service.backend import BackendConnection
from mattebox_desktop.service.preferences import preferences
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui import palette
from mattebox_desktop.ui.main_window import MainWindow


@dataclass(frozen=True, slots=True)
class Desktop:
    """The application and its two halves: the services and the window."""

    application: QApplication
    workspace: Workspace
    window: MainWindow


def build(backend: BackendConnection | None = None) -> Desktop:
    """Makes the desktop without showing it, starting a backend or opening anything."""
    existing = QApplication.instance()
    application = existing if isinstance(existing, QApplication) else QApplication(sys.argv[:1])
    application.setApplicationName("Mattebox")
    application.setDesktopFileName("mattebox")
    light = preferences().value("theme") == "light"
    palette.apply(application, palette.LIGHT if light else palette.DARK)
    workspace = Workspace(backend)
    window = MainWindow(workspace)
    window.actions_.light.setChecked(light)
    return Desktop(application, workspace, window)


def run(path: Path | None = None) -> int:
    """Opens the desktop, with a clip or a project when one is given, and returns the exit code."""
    desktop = build()
    desktop.window.show()
    desktop.workspace.offer_recovery()
    desktop.workspace.backend.start()
    if path is not None:
        desktop.window.commands.open_path(path.absolute())
    # Python sees Ctrl-C only when it runs: let it, four times a second.
    signal.signal(signal.SIGINT, lambda *_: desktop.window.close())
    pulse = QTimer()
    pulse.timeout.connect(lambda: None)
    pulse.start(250)
    return desktop.application.exec()
