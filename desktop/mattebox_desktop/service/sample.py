"""The clip that ships, for a first try."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_NAMES = ("demo/source.mp4", "demo/clip.mp4", "demo/demo.mp4")


def sample_clip() -> Path | None:
    """The shipped clip's file; None where this installation has none."""
    root = files("mattebox_resources")
    for name in _NAMES:
        path = Path(str(root.joinpath(name)))
        if path.is_file():
            return path
    return None
