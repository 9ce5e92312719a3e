"""One backend per home: an operating-system lock, which a dead process cannot keep."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from mattebox_proto.file_lock import try_lock
from mattebox_proto.paths import private_folder

from mattebox_backend.errors import BackendRunning

_POLL = 0.1


class HomeLock:
    """Held from `acquire` to `release`, or to the end of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self, *, worth_waiting: Callable[[], bool] = lambda: False) -> None:
        """Raises BackendRunning when another process holds it.

        worth_waiting: asked again and again whether that process is about to end.
        """
        private_folder(self._path.parent)
        file = self._path.open("a+b")
        while not try_lock(file):
            if worth_waiting():
                time.sleep(_POLL)
                continue
            file.seek(0)
            holder = file.read(20).decode(errors="replace").strip()
            file.close()
            who = f" (process {holder})" if holder else ""
            raise BackendRunning(
                f"A backend{who} already serves {self._path.parent.parent}; use that one, or stop it first."
            )
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
