"""Where Mattebox keeps things on this machine: one answer for command line, desktop and backend."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from platformdirs import PlatformDirs

HOME_VARIABLE = "MATTEBOX_HOME"

# sun_path holds 108 bytes on Linux and 104 on macOS, with the closing zero.
_LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True, slots=True)
class Folders:
    """The five folders; none is made until something is written.

    config: settings. cache: may be deleted at any time. data: takes and jobs. run: the running backend's
    address and socket, readable by the user alone. log: backend logs.
    """

    config: Path
    cache: Path
    data: Path
    run: Path
    log: Path

    @property
    def backend_file(self) -> Path:
        """Where a running backend says how to reach it: `mattebox_proto.discovery`."""
        return self.run / "backend.json"

    @property
    def backend_log(self) -> Path:
        return self.log / "backend.log"


def folders() -> Folders:
    """The platform's folders, or those under ``$MATTEBOX_HOME`` where that is set."""
    home = os.environ.get(HOME_VARIABLE)
    if home:
        root = Path(home).expanduser().absolute()
        return Folders(root / "config", root / "cache", root / "data", root / "run", root / "log")
    dirs = PlatformDirs("mattebox", appauthor=False)
    return Folders(
        config=dirs.user_config_path,
        cache=dirs.user_cache_path,
        data=dirs.user_data_path,
        # The runtime folder proper may be absent (containers, su): the data folder always can be made.
        run=dirs.user_data_path / "run",
        log=dirs.user_log_path,
    )


def private_folder(path: Path) -> Path:
    """Makes a folder that only this user may read, and returns it."""
    path.mkdir(parents=True, exist_ok=True)
    if sys.platform != "win32":
        path.chmod(0o700)
    return path


def listen_address(run: Path) -> str:
    """Where a local backend listens: a Unix socket in `run`, or loopback TCP (port chosen by the system).

    TCP where there are no Unix sockets, or where the path is longer than the system's socket names.
    """
    socket = run / "backend.sock"
    if sys.platform == "win32" or len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH:
        return "127.0.0.1:0"
    return f"unix://{socket}"
