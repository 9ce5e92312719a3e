"""Files that another program writes: each version is told once, when it is whole."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QFileSystemWatcher, QObject, QTimer, Signal

SETTLE_MS = 250
"""A file is told of when two looks, this far apart, see the same."""
GONE_SECONDS = 3.0
"""An editor that replaces a file takes it away for a moment."""

_Stamp = tuple[int, int, int]


@dataclass(slots=True)
class _Watched:
    """told: the version that was told last. seen: what the last look saw. missing_since: the clock's time."""

    timer: QTimer
    told: _Stamp | None
    seen: _Stamp | None
    missing_since: float | None = None
    said_lost: bool = False


class PictureWatch(QObject):
    """Watches files, however they are written: in place, or by another file that takes their name.

    Signals: `saved(Path)` for every new version; `lost(Path)` when a file has been gone for a while. One that
    comes back is told of again.
    """

    saved = Signal(object)
    lost = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._files: dict[Path, _Watched] = {}
        self._watcher = QFileSystemWatcher(self)
        self._watcher.fileChanged.connect(lambda name: self._touched(Path(name)))
        self._watcher.directoryChanged.connect(self._folder_touched)

    @property
    def paths(self) -> list[Path]:
        return list(self._files)

    def watch(self, path: Path) -> None:
        """From now on: the version that stands there is not told of."""
        stamp = _stamp(path)
        known = self._files.get(path)
        if known is not None:
            known.told = known.seen = stamp
            known.missing_since, known.said_lost = None, False
        else:
            timer = QTimer(self)
            timer.setSingleShot(True)
            timer.setInterval(SETTLE_MS)
            timer.timeout.connect(lambda: self._look(path))
            self._files[path] = _Watched(timer, stamp, stamp)
        self._hold(path)

    def forget(self, path: Path) -> None:
        known = self._files.pop(path, None)
        if known is None:
            return
        known.timer.stop()
        known.timer.deleteLater()
        names = [str(path)] if str(path) in self._watcher.files() else []
        if not any(other.parent == path.parent for other in self._files):
            names += [str(path.parent)] if str(path.parent) in self._watcher.directories() else []
        if names:
            self._watcher.removePaths(names)

    def clear(self) -> None:
        for path in self.paths:
            self.forget(path)

    def _folder_touched(self, folder: str) -> None:
        for path in self.paths:
            if path.parent == Path(folder):
                self._touched(path)

    def _touched(self, path: Path) -> None:
        known = self._files.get(path)
        if known is not None:
            known.timer.start()

    def _look(self, path: Path) -> None:
        known = self._files.get(path)
        if known is None:
            return
        self._hold(path)
        stamp = _stamp(path)
        if stamp is None:
            self._look_for_lost(path, known)
            return
        known.missing_since, known.said_lost = None, False
        if stamp == known.told:
            known.seen = stamp
        elif stamp != known.seen:
            known.seen = stamp
            known.timer.start()
        else:
            known.told = stamp
            self.saved.emit(path)

    def _look_for_lost(self, path: Path, known: _Watched) -> None:
        now = time.monotonic()
        if known.missing_since is None:
            known.missing_since = now
        if now - known.missing_since < GONE_SECONDS:
            known.timer.start()
        elif not known.said_lost:
            known.said_lost = True
            known.told = known.seen = None  # whatever comes back is news
            self.lost.emit(path)

    def _hold(self, path: Path) -> None:
        """The system's watch ends with the file that it was put on; the folder tells of the next one."""
        wanted = [path for path in (path, path.parent) if path.exists()]
        held = {*self._watcher.files(), *self._watcher.directories()}
        names = [str(path) for path in wanted if str(path) not in held]
        if names:
            self._watcher.addPaths(names)


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
