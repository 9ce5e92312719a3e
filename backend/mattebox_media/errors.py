"""What can go wrong with media, each as one sentence that names the thing, its value and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class MediaError(Exception):
    """Base of every error of this package; ``str(error)`` is a sentence for the user."""


class ClipNotFound(MediaError):
    """There is no such file, or no file fits the number pattern."""


class NotAVideo(MediaError):
    """The file is readable but holds no video that we can show."""


class EmptyClip(MediaError):
    """The video stream has no frame."""


class TruncatedClip(MediaError):
    """The file ends before its container says so.

    ``last_good_frame`` is the 0-based index of the last frame known to be whole, or None when there is none
    (or when the index of the file itself is what was cut off).
    """

    def __init__(self, message: str, last_good_frame: int | None) -> None:
        super().__init__(message)
        self.last_good_frame = last_good_frame


class DamagedFrame(MediaError):
    """One frame cannot be decoded; ``frame`` is its 0-based index."""

    def __init__(self, path: Path, frame: int, reason: str) -> None:
        before = (
            f"the last good frame before it is {frame - 1}" if frame > 0 else "no frame before it is good"
        )
        super().__init__(
            f"Frame {frame} of {path} cannot be decoded ({reason}); {before}: copy the clip again from its "
            f"source, or choose a range that leaves the frame out."
        )
        self.frame = frame


class FrameOutOfRange(MediaError, IndexError):
    """A frame index or range that the clip does not have."""


class MissingFrames(MediaError):
    """A picture sequence has gaps; ``missing`` are the numbers that no file carries."""

    def __init__(self, pattern: Path, missing: Sequence[int]) -> None:
        self.missing = tuple(missing)
        super().__init__(
            f"The picture sequence {pattern} lacks number {_runs(self.missing)}: put the missing pictures "
            f"back, or renumber the others without a gap."
        )


class ClosedClip(MediaError):
    """A frame was asked of a reader that is closed."""


class UnsupportedOutput(MediaError):
    """The ending, the codec or the pixels do not go together."""


class OutputFull(MediaError):
    """The disk, a quota or a size limit ended the writing; what stood at the path before still stands."""


class OutputFailed(MediaError):
    """The output cannot be written for another reason; what stood at the path before still stands."""


class FrameMismatch(MediaError, ValueError):
    """Frames handed to the writer that do not fit together, or times that do not fit the frames."""


def _runs(numbers: Sequence[int]) -> str:
    """``(5, 7, 8, 9)`` as "5, 7-9", cut after eight runs."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    shown = [f"{first}" if first == last else f"{first}-{last}" for first, last in runs[:8]]
    return ", ".join(shown) + (f" and {len(runs) - 8} more gaps" if len(runs) > 8 else "")
