"""A mean with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean of ``count`` values and the ends of its interval."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap_interval(
    values: Sequence[float | None], *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap (Efron) of the mean of ``values``; None values are left out, and the result is
    None when none remains.
    """
    # Sorted, so that the order in which tasks were done is not in the interval.
    known = np.sort(np.array([v for v in values if v is not None and np.isfinite(v)], float))
    if known.size == 0:
        return None
    chosen = np.random.default_rng(seed).integers(known.size, size=(draws, known.size))
    means = known[chosen].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(known.mean()), float(low), float(high), int(known.size))
