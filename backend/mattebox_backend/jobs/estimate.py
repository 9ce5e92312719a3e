"""How far a job is, and how long it will still take: stages weighted by what they took last time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from mattebox_backend.jobs.values import Progress

# Shares of a render of the pocket model on a CPU: until a job of the same recipe has been measured. In order.
DEFAULT_SECONDS: Mapping[str, float] = {
    "load": 0.05,
    "masks": 0.01,
    "decode": 0.02,
    "encode": 0.05,
    "tune": 0.0,
    "invert": 0.30,
    "sample": 0.45,
    "decode_latents": 0.0,
    "composite": 0.11,
    "measure": 0.01,
}

_ENOUGH_TO_JUDGE = 0.02
"""Share of the whole job that must be measured before its speed says something."""


class Estimate:
    """Turns (stage, step, of) into a fraction that never falls and a remaining time.

    stage_seconds: what each stage took in an earlier job of the same recipe; only the proportions count.
    reached: the fraction at which a resumed job begins. A stage that is skipped (a cached inversion, a
    resumed job) takes its share with it: it is done as soon as a later one begins.
    """

    def __init__(
        self,
        stage_seconds: Mapping[str, float],
        *,
        reached: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        known = dict(stage_seconds) if sum(stage_seconds.values()) > 0 else dict(DEFAULT_SECONDS)
        total = sum(known.values())
        self._shares = {stage: seconds / total for stage, seconds in known.items()}
        self._clock = clock
        self._fraction = reached
        self._stage = ""
        self._first_step = 0
        self._last = clock()
        self.seconds: dict[str, float] = {}

    def at(self, stage: str, step: int, of: int) -> Progress:
        """step: finished steps of the stage, 0 … of."""
        now = self._clock()
        spent, self._last = now - self._last, now
        self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
        if stage != self._stage:
            self._stage, self._first_step = stage, max(step - 1, 0)
        share = self._shares.get(stage, 0.0)
        done = min(step, of) / of if of > 0 else 1.0
        before = sum(self._shares.get(earlier, 0.0) for earlier in _before(stage))
        self._fraction = max(self._fraction, min(before + share * done, 1.0))
        left = share * (1 - done) + max(1.0 - before - share, 0.0)
        return Progress(stage, step, of, self._seconds_for(left, step, of), self._fraction)

    def _seconds_for(self, left: float, step: int, of: int) -> float | None:
        """How long a share of the job takes at the speed measured so far; None while that is too little."""
        worked = sum(self._shares.get(stage, 0.0) for stage in self.seconds if stage != self._stage)
        if of > 0:
            worked += self._shares.get(self._stage, 0.0) * max(step - self._first_step, 0) / of
        if worked < _ENOUGH_TO_JUDGE:
            return None
        return left * sum(self.seconds.values()) / worked


def _before(stage: str) -> list[str]:
    order = list(DEFAULT_SECONDS)
    return order[: order.index(stage)] if stage in order else []
