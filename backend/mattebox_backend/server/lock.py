"""One backend per home: an operating-system lock, which a dead process cannot keep."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from mattebox_proto.paths import private_folder

from mattebox_backend.errors import BackendRunning


class HomeLock:
    """Held from `acquire` to `release`, or to the end of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Raises BackendRunning when another process holds it."""
        private_folder(self._path.parent)
        file = self._path.open("a+b")
        if not _try_lock(file):
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


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(1 << 30)  # a byte that nobody reads: on Windows a locked one cannot be read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
