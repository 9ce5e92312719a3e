"""The edit that ships, for a first try."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_NAMES = ("demo/edit.toml", "demo/source.mkv")


def sample() -> Path | None:
    """The shipped edit, or its clip; None where this installation has none."""
    root = files("mattebox_resources")
    for name in _NAMES:
        path = Path(str(root.joinpath(name)))
        if path.is_file():
            return path
    return None
