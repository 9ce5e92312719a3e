"""A figure over the steps of a job, such as a training's loss: while it grows, and as a take's report keeps
it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Point = tuple[int, float]
"""A step, from 1, and the value there."""


@dataclass(frozen=True, slots=True)
class Curve:
    """points: by rising step, one at least. of: the steps that there are to be."""

    name: str
    points: tuple[Point, ...]
    of: int

    @property
    def first(self) -> Point:
        return self.points[0]

    @property
    def last(self) -> Point:
        return self.points[-1]

    @property
    def lowest(self) -> Point:
        return min(self.points, key=lambda point: point[1])

    def with_point(self, step: int, value: float, of: int) -> Curve:
        """The curve after one more step. A job that was picked up again goes back to where its checkpoint
        stood: what was told from that step on is told anew.
        """
        kept = self.points
        while kept and kept[-1][0] >= step:
            kept = kept[:-1]
        return Curve(self.name, (*kept, (step, value)), of)

    @property
    def words(self) -> str:
        """ "motion loss: first 0.31, last 0.0214, lowest 0.0198 (step 97 of 100)"."""
        step, value = self.lowest
        return (
            f"{self.name}: first {figure_words(self.first[1])}, last {figure_words(self.last[1])}, "
            f"lowest {figure_words(value)} (step {step} of {self.of})"
        )


def with_point(curves: tuple[Curve, ...], name: str, step: int, value: float, of: int) -> tuple[Curve, ...]:
    """The curves after a figure of one of them, or of a new one, was told."""
    if all(curve.name != name for curve in curves):
        return (*curves, Curve(name, ((step, value),), of))
    return tuple(c.with_point(step, value, of) if c.name == name else c for c in curves)


def curves_of(report: Mapping[str, Any]) -> tuple[Curve, ...]:
    """The curves that a take's report keeps; what is none is passed over: a report is older or newer than
    this.
    """
    kept = report.get("curves")
    found = []
    for name, content in kept.items() if isinstance(kept, Mapping) else ():
        points = sorted(point for point in map(_point, _items(content)) if point is not None)
        if points:
            found.append(Curve(str(name), tuple(points), points[-1][0]))
    return tuple(found)


def figure_words(value: float) -> str:
    """A value to three digits."""
    return f"{value:.3g}"


def _items(content: object) -> list[Any]:
    return list(content) if isinstance(content, (list, tuple)) else []


def _point(content: object) -> Point | None:
    match content:
        case [int(step), int() | float() as value] if math.isfinite(value):
            return step, float(value)
        case _:
            return None
