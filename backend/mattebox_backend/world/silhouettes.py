"""Signed distances to the outlines of the world's shapes, in a unit frame where the circumscribed circle has
radius 1.
"""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from mattebox_backend.world.vocabulary import PartKind, Shape

Field = NDArray[np.float32]

RING_INNER = 0.52
CROSS_ARM = 0.34
STAR_INNER = 0.42
DOT_RADIUS = 0.40
STRIPE_HALF = 0.19


def signed_distance(shape: Shape, u: Field, v: Field) -> Field:
    """Distance of points ``(u, v)`` (any one shape, float32, unit frame) to the outline of ``shape``:
    negative inside.

    Exact for circle and ring; for the polygons it is the exact distance to the nearest edge.
    """
    if shape is Shape.CIRCLE:
        return np.hypot(u, v) - np.float32(0.88)
    if shape is Shape.RING:
        radius = np.hypot(u, v)
        return np.maximum(radius - np.float32(0.95), np.float32(RING_INNER) - radius)
    return _polygon(u, v, _OUTLINES[shape])


def part_distance(kind: PartKind, u: Field, v: Field) -> Field:
    """Distance of points ``(u, v)`` to the outline of a part, negative inside, in the frame of the object
    that carries it.
    """
    if kind is PartKind.DOT:
        return np.hypot(u, v) - np.float32(DOT_RADIUS)
    return np.abs(v) - np.float32(STRIPE_HALF)


def _polygon(u: Field, v: Field, corners: NDArray[np.float32]) -> Field:
    """Signed distance to a simple polygon: nearest edge, sign by crossing parity."""
    nearest = np.full(u.shape, np.inf, np.float32)
    inside = np.zeros(u.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        px, py = u - ax, v - ay
        along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, (px - along * ex) ** 2 + (py - along * ey) ** 2)
        crosses = (ay > v) != (by > v)
        if ey != 0:
            inside ^= crosses & (px < py * (ex / ey))
    return np.where(inside, -1, 1).astype(np.float32) * np.sqrt(nearest)


def _regular(count: int, radius: float, first: float) -> NDArray[np.float32]:
    turns = [first + 2 * pi * k / count for k in range(count)]
    return np.array([(radius * cos(a), radius * sin(a)) for a in turns], np.float32)


def _star() -> NDArray[np.float32]:
    outer, inner = _regular(5, 1.0, -pi / 2), _regular(5, STAR_INNER, -pi / 2 + pi / 5)
    return np.stack([outer, inner], axis=1).reshape(10, 2)


def _cross() -> NDArray[np.float32]:
    arm, end = CROSS_ARM, 0.92
    quarter = [(arm, -end), (arm, -arm), (end, -arm)]
    corners: list[tuple[float, float]] = []
    for k in range(4):
        c, s = round(cos(k * pi / 2)), round(sin(k * pi / 2))
        corners += [(c * x - s * y, s * x + c * y) for x, y in quarter]
    return np.array(corners, np.float32)


_OUTLINES = {
    Shape.SQUARE: _regular(4, 1.0, pi / 4),
    Shape.TRIANGLE: _regular(3, 1.0, -pi / 2),
    Shape.STAR: _star(),
    Shape.CROSS: _cross(),
}
