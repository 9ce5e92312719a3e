"""How far a job is, and how long it will still take: stages weighted by what they took last time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from mattebox_backend.jobs.values import Progress

# Shares of a render of the pocket model on a CPU: until a job of the same recipe has been measured.
DEFAULT_SECONDS: Mapping[str, float] = {
    "decode": 0.02,
    "masks": 0.01,
    "load": 0.05,
    "encode": 0.05,
    "invert": 0.30,
    "sample": 0.45,
    "decode_latents": 0.07,
    "composite": 0.03,
    "measure": 0.02,
}

_ENOUGH_TO_JUDGE = 0.02
"""Share of the whole job that must be measured before its speed says something."""


class Estimate:
    """Turns (stage, step, of) into a fraction that never falls and a remaining time.

    stage_seconds: what each stage took in an earlier job of the same recipe; only the proportions count. A stage that is
    skipped (a cached inversion, a resumed job) takes its share with it: it is done as soon as a later one begins.
    """

    def __init__(
        self, stage_seconds: Mapping[str, float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        known = {**DEFAULT_SECONDS, **stage_seconds}
        total = sum(known.values())
        self._shares = {stage: seconds / total for stage, seconds in known.items()}
        self._order = list(DEFAULT_SECONDS)
        self._clock = clock
        self._fraction = 0.0
        self._stage = ""
        self._first_step = 0
        self._stage_began = 0.0
        self._measured_seconds = 0.0
        self._measured_share = 0.0
        self.seconds: dict[str, float] = {}

    def at(self, stage: str, step: int, of: int) -> Progress:
        """step: finished steps of the stage, 0 … of."""
        now = self._clock()
        if stage != self._stage:
            self._stage, self._first_step, self._stage_began = stage, step, now
            self._measured_seconds = sum(self.seconds.values())
            self._measured_share = sum(self._share(done) for done in self.seconds)
        elapsed = now - self._stage_began
        self.seconds[stage] = elapsed
        share, done = self._share(stage), min(step, of) / of if of > 0 else 1.0
        before = sum(self._share(earlier) for earlier in self._earlier(stage))
        self._fraction = max(self._fraction, min(before + share * done, 1.0))
        return Progress(stage, step, of, self._remaining(step, of, elapsed, share, before), self._fraction)

    def _remaining(self, step: int, of: int, elapsed: float, share: float, before: float) -> float | None:
        worked = max(step - self._first_step, 0) / of if of > 0 else 0.0
        measured_share = self._measured_share + share * worked
        if measured_share < _ENOUGH_TO_JUDGE:
            return None
        speed = (self._measured_seconds + elapsed) / measured_share
        later = max(1.0 - before - share, 0.0) * speed
        here = share * speed if worked == 0 else elapsed / worked
        left = 1 - min(step, of) / of if of > 0 else 0.0
        return max(here * left + later, 0.0)

    def _share(self, stage: str) -> float:
        return self._shares.get(stage, 0.0)

    def _earlier(self, stage: str) -> list[str]:
        return self._order[: self._order.index(stage)] if stage in self._order else []
