"""Frames along the timeline: zoom and scroll between frames and pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MAX_PIXELS = 120.0
_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000)
_LABEL_WIDTH = 64.0


@dataclass(frozen=True, slots=True)
class TimeScale:
    """x = left + (frame − first) × pixels. left, width: of the tracks, in view pixels. frames: of the
    clip.
    """

    left: float = 0.0
    width: float = 1.0
    frames: int = 1
    first: float = 0.0
    pixels: float = 1.0

    @property
    def shortest(self) -> float:
        """Pixels per frame at which the whole clip shows."""
        return self.width / max(1, self.frames)

    def x(self, frame: float) -> float:
        return self.left + (frame - self.first) * self.pixels

    def frame(self, x: float) -> int:
        """The frame under x, within the clip."""
        return min(self.frames - 1, max(0, math.floor(self.first + (x - self.left) / self.pixels)))

    def fitted(self) -> TimeScale:
        return replace(self, first=0.0, pixels=min(MAX_PIXELS, self.shortest))

    def resized(self, left: float, width: float) -> TimeScale:
        whole = math.isclose(self.pixels, min(MAX_PIXELS, self.shortest), rel_tol=1e-3)
        changed = replace(self, left=left, width=max(1.0, width))
        return changed.fitted() if whole else changed._bounded()

    def zoomed(self, factor: float, about: float) -> TimeScale:
        """Scaled such that the frame at the pixel `about` stays there."""
        low = min(MAX_PIXELS, self.shortest)
        pixels = min(MAX_PIXELS, max(low, self.pixels * factor))
        at = self.first + (about - self.left) / self.pixels
        return replace(self, pixels=pixels, first=at - (about - self.left) / pixels)._bounded()

    def scrolled(self, frames: float) -> TimeScale:
        return replace(self, first=self.first + frames)._bounded()

    def showing(self, frame: int) -> TimeScale:
        """Scrolled as little as it takes to show that frame."""
        shown = self.width / self.pixels
        if frame < self.first:
            return replace(self, first=float(frame))._bounded()
        if frame + 1 > self.first + shown:
            return replace(self, first=frame + 1 - shown)._bounded()
        return self

    @property
    def label_step(self) -> int:
        """Frames between two labels of the ruler."""
        return next((step for step in _STEPS if step * self.pixels >= _LABEL_WIDTH), _STEPS[-1])

    def _bounded(self) -> TimeScale:
        last = max(0.0, self.frames - self.width / self.pixels)
        return replace(self, first=min(last, max(0.0, self.first)))
