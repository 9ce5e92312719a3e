"""`mattebox` and `mattebox FILE`: the desktop."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from mattebox_desktop.cli.failures import UsageFault


def open_desktop(file: Path | None, commands: Sequence[str]) -> int:
    """Runs the desktop until its window closes; returns its exit code. Raises UsageFault."""
    if file is not None and not file.exists() and "%" not in file.name:
        raise UsageFault(_no_such(str(file), commands))
    if importlib.util.find_spec("PySide6") is None:
        raise UsageFault(
            "The desktop's packages are not installed here (PySide6 is missing); "
            "install `mattebox[desktop]`, or render without it: `mattebox edit`."
        )
    from mattebox_desktop.app import run

    return run(file)


def _no_such(name: str, commands: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, commands, n=1, cutoff=0.6)
    hint = f"did you mean `mattebox {close[0]}`?" if close else "see `mattebox --help` for the commands."
    return f"There is no file and no command named {name!r}; {hint}"
