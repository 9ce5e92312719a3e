"""The running backend's card: a small file in the run folder that says how to reach it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from mattebox_proto.paths import private_folder


@dataclass(frozen=True, slots=True)
class BackendCard:
    """address: ``unix:///…/backend.sock`` or ``127.0.0.1:PORT``. token: sent with every call.

    pid: the process. version, contract: what it speaks. started: seconds since the epoch.
    device: as chosen with ``--device``.
    """

    address: str
    token: str
    pid: int
    version: str
    contract: int
    started: float
    device: str = ""


def write_card(path: Path, card: BackendCard) -> None:
    """Writes the card atomically, readable by this user alone."""
    private_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".backend-", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(card), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_card(path: Path) -> BackendCard | None:
    """The card, or None where there is none or it cannot be read as one (it is then as good as stale)."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return BackendCard(
            address=str(fields["address"]),
            token=str(fields["token"]),
            pid=int(fields["pid"]),
            version=str(fields["version"]),
            contract=int(fields["contract"]),
            started=float(fields["started"]),
            device=str(fields.get("device", "")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remove_card(path: Path, pid: int) -> None:
    """Removes the card if it is still this process's: a newer backend's card stays."""
    card = read_card(path)
    if card is not None and card.pid == pid:
        path.unlink(missing_ok=True)


def process_lives(pid: int) -> bool:
    """Whether a process with this id exists and is no zombie (another program may carry a dead one's id)."""
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _windows_process_lives(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True  # no /proc here (macOS)
    return status.rpartition(")")[2].split()[0] != "Z"


def _windows_process_lives(pid: int) -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    query_limited_information, still_active = 0x1000, 259
    kernel = ctypes.windll.kernel32
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == still_active
