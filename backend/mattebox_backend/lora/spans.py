"""Clips that are longer than a model's: windows that begin with what the one before has made."""

from __future__ import annotations


def generation_windows(frames: int, size: int, overlap: int) -> tuple[tuple[range, int], ...]:
    """Windows over a clip, each with how many of its first frames are made already.

    frames: of the clip; size: of a window, not above what the model takes; both k·stride + 1. The last window
    ends with the clip, and shares with the one before what is left over.
    """
    if size >= frames:
        return ((range(frames), 0),)
    overlap = min(overlap, size - 1)
    windows = [(range(size), 0)]
    while windows[-1][0].stop < frames:
        made = windows[-1][0].stop
        start = min(made - overlap, frames - size)
        windows.append((range(start, start + size), made - start))
    return tuple(windows)
