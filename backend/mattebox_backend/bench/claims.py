"""Whether an ordering came out: paired differences over the tasks, with their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mattebox_backend.bench.experiments import Claim, Ordering, Place
from mattebox_backend.metrics.bootstrap import Interval, bootstrap_interval


@dataclass(frozen=True, slots=True)
class Finding:
    """How an ordering fared. gains: per neighbouring pair the mean gain over the tasks that both have a
    figure for, in the wanted direction, and its 95 % interval; None where there is none. came_out: every
    gain is above 0 (or not below it, where equal is enough, or not far below, where that is). clear: every
    interval lies wholly on that side.
    """

    ordering: Claim
    gains: tuple[Interval | None, ...]

    @property
    def came_out(self) -> bool:
        return all(gain is not None and self._right(gain.mean) for gain in self.gains)

    @property
    def clear(self) -> bool:
        return all(gain is not None and self._right(gain.low) for gain in self.gains)

    @property
    def verdict(self) -> str:
        """In words. Within the noise: the tasks do not tell either way."""
        if not self.came_out:
            if None in self.gains:
                return "not measured"
            contrary = any(gain is not None and gain.high < -self._slack for gain in self.gains)
            return "**did not come out**" if contrary else "**did not come out**, within the noise"
        return "came out" if self.clear else "came out, within the noise"

    @property
    def _slack(self) -> float:
        return self.ordering.within if isinstance(self.ordering, Ordering) else 0.0

    def _right(self, gain: float) -> bool:
        return gain >= -self._slack if self.ordering.at_least else gain > -self._slack


def judge_ordering(ordering: Claim, variants: Mapping[str, Any]) -> Finding:
    """Hold an ordering against results: variant → {"tasks": task → figures}."""
    sign = 1 if ordering.rising else -1
    gains = []
    for first, second in pairwise(ordering.places):
        before, after = _values(variants, first), _values(variants, second)
        gains.append(bootstrap_interval([sign * (after[t] - before[t]) for t in before if t in after]))
    return Finding(ordering, tuple(gains))


def _values(variants: Mapping[str, Any], place: Place) -> dict[str, float]:
    """By task, what was measured of one variant's figure."""
    variant, figure = place
    tasks = variants.get(variant, {}).get("tasks", {})
    return {name: of_task[figure] for name, of_task in tasks.items() if of_task.get(figure) is not None}
