"""Frames as a clock: hours, minutes, seconds and frames."""

from __future__ import annotations

from fractions import Fraction


def timecode(frame: int, rate: Fraction) -> str:
    """ "00:00:03:12" at `rate` frames per second; frames count up to the rate rounded, without drops."""
    per_second = max(1, round(rate))
    seconds, frames = divmod(frame, per_second)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def duration(seconds: float) -> str:
    """ "8 s", "2 min 5 s", "1 h 4 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
