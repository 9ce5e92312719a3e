"""Parameters of how frames are put to a model, for every method that takes them."""

from __future__ import annotations

from typing import Any

from mattebox_backend.methods.parameters import choice, integer


def frames_seen() -> Any:
    """A field: which frames a frame sees through self attention, by the values of `attention.Reach`."""
    return choice(
        "all",
        ("all", "own", "first and previous"),
        "The frames that a frame's self attention sees; a model tuned on the clip was tuned on the first and "
        "previous.",
    )


def window_frames(default: int = 0) -> Any:
    """A field: the length of a window; see `windowing.windows`."""
    words = "Frames that are denoised together, in overlapping windows; 0 takes all."
    return integer(default, 0, 1000, words, "frames")


def window_stride() -> Any:
    """A field: from one window to the next."""
    return integer(0, 0, 1000, "Frames from one window to the next; 0 is half a window.", "frames")
