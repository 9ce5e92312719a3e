"""Names what is in a picture of the world, without weights: colour by the nearest palette entry in CIELAB,
shape by template overlap.

Works on true renders and on the softer pictures of a pocket model alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import pi

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.world.silhouettes import part_distance, signed_distance
from mattebox_backend.world.vocabulary import (
    BACKGROUND_RGB,
    OBJECT_RGB,
    BackgroundColour,
    Colour,
    PartKind,
    Shape,
)

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]

GRID = 40
"""Side of the square on which silhouettes are compared."""
REACH = 2.4
"""Half side of that square, in radii of the disc of equal area."""
SMALLEST = 0.0035
"""Least share of the frame that a spot must cover to count as an object."""
LEAST_PART = 0.08
"""Least share of a spot that a second colour must cover to be more than a blurred edge."""
OFF_CENTRE = 0.35
"""How far a part's centre may lie from that of its object, in radii of the disc of equal area."""
PART_BONUS = 0.1
"""By how much two objects must explain a two-coloured spot better than one object with a part."""
SCALE = 2
"""Pictures are enlarged by this before they are taken apart."""

_COLOURS = tuple(Colour)
_BACKGROUND_TONES = (-34, -17, 0, 17, 34)
_TURNS = {Shape.SQUARE: 4, Shape.TRIANGLE: 3, Shape.STAR: 5, Shape.CROSS: 4}


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One object that was seen: its look, its centre in pixels, its silhouette (H, W) bool, and ``fit``, the
    overlap with its shape.
    """

    shape: Shape
    colour: Colour
    part_colour: Colour | None
    x: float
    y: float
    silhouette: Bools
    fit: float


def recognise(
    frame: NDArray[np.uint8], background: BackgroundColour | None = None, within: Bools | None = None
) -> list[Sighting]:
    """Every object in ``frame`` (H, W, 3) uint8 RGB, largest first.

    ``background`` names the background when it is known, which helps where an object is close to another
    background colour. ``within`` (H, W) bool limits the search to a region.
    """
    height, width = frame.shape[:2]
    large = np.asarray(cv2.resize(frame, (width * SCALE, height * SCALE)), np.uint8)
    labels = _classify(large, background)
    if within is not None:
        labels[
            ~cv2.resize(
                within.astype(np.uint8), (width * SCALE, height * SCALE), interpolation=cv2.INTER_NEAREST
            ).astype(bool)
        ] = -1
    least = SMALLEST * labels.size
    found: list[Sighting] = []
    coloured = labels >= 0
    for spot in _spots(_filled(coloured), least):
        found += _explain(labels, spot & coloured, least, SCALE)
    return sorted(found, key=lambda sighting: -int(np.count_nonzero(sighting.silhouette)))


def recognise_region(
    frame: NDArray[np.uint8], region: Bools, background: BackgroundColour | None = None, margin: int = 3
) -> Sighting | None:
    """The object that fills ``region`` (H, W) bool of ``frame``, grown by ``margin`` pixels; None when there
    is none.
    """
    size = 2 * margin + 1
    grown = cv2.dilate(
        region.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    ).astype(bool)
    seen = recognise(frame, background, grown)
    return max(seen, key=lambda sighting: int(np.count_nonzero(sighting.silhouette & region)), default=None)


def colour_shares(
    frame: NDArray[np.uint8], region: Bools, background: BackgroundColour | None = None
) -> dict[Colour, float]:
    """For each colour, the share of the pixels of ``region`` (H, W) bool that have it; all zero when the
    region is empty.
    """
    labels = _classify(frame, background)[region]
    count = max(1, labels.size)
    return {colour: float(np.count_nonzero(labels == n)) / count for n, colour in enumerate(_COLOURS)}


def nearest_colour(rgb: NDArray[np.floating]) -> Colour:
    """The object colour that is nearest to ``rgb`` (3,) in 0..255, in CIELAB."""
    distance = np.linalg.norm(_lab(np.array([OBJECT_RGB[c] for c in _COLOURS])) - _lab(rgb[None]), axis=1)
    return _COLOURS[int(distance.argmin())]


def match_shape(silhouette: Bools, part: PartKind | None = None) -> tuple[Shape, float]:
    """The shape that overlaps ``silhouette`` (H, W) bool best, over all rotations, and that overlap (soft
    IoU, in [0, 1]).

    With ``part``, the silhouette is what a part of that kind leaves of its object.
    """
    shapes, templates, weights = _templates(part)
    patch = _normalised(silhouette).ravel()
    shared = np.minimum(templates, patch).sum(axis=1)
    overlap = shared / (weights + patch.sum() - shared)
    best = int(overlap.argmax())
    return shapes[best], float(overlap[best])


def _explain(labels: NDArray[np.int8], spot: Bools, least: float, scale: int) -> list[Sighting]:
    """A connected spot as one object, as one with a part, or as several that touch: whichever fits best."""
    areas = np.bincount(labels[spot], minlength=len(_COLOURS))
    ranked = np.argsort(-areas, kind="stable")
    main, second = int(ranked[0]), int(ranked[1])
    if areas[second] < LEAST_PART * areas.sum():
        return [_sighting(*match_shape(spot), main, None, spot, scale)]
    one = _with_part(labels, spot, main, second, scale)
    several = [
        _sighting(*match_shape(piece), colour, None, piece, scale)
        for colour in range(len(_COLOURS))
        for piece in _spots(_opened(spot & (labels == colour)), least)
    ]
    if one is None or not several:
        return several or [_sighting(*match_shape(spot), main, None, spot, scale)]
    sizes = np.array([np.count_nonzero(sighting.silhouette) for sighting in several], float)
    fit = float((sizes * [sighting.fit for sighting in several]).sum() / sizes.sum())
    return several if fit > one.fit + PART_BONUS else [one]


def _with_part(labels: NDArray[np.int8], spot: Bools, main: int, second: int, scale: int) -> Sighting | None:
    """``spot`` as an object of colour ``main`` with a part of colour ``second``; None when that does not sit
    in the middle.
    """
    body, part = spot & (labels == main), spot & (labels == second)
    away = np.mean(np.nonzero(body), axis=1) - np.mean(np.nonzero(part), axis=1)
    if np.hypot(*away) > OFF_CENTRE * np.sqrt(np.count_nonzero(spot) / pi):
        return None
    shape, fit = max((match_shape(body, kind) for kind in PartKind), key=lambda found: found[1])
    return _sighting(shape, fit, main, second, spot, scale)


def _sighting(
    shape: Shape, fit: float, colour: int, part: int | None, silhouette: Bools, scale: int
) -> Sighting:
    rows, columns = np.nonzero(silhouette)
    small = silhouette[scale // 2 :: scale, scale // 2 :: scale]
    part_colour = None if part is None else _COLOURS[part]
    return Sighting(
        shape,
        _COLOURS[colour],
        part_colour,
        float(columns.mean()) / scale,
        float(rows.mean()) / scale,
        small,
        fit,
    )


def _spots(mask: Bools, least: float) -> Iterable[Bools]:
    count, spots, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    for index in range(1, count):
        if stats[index, cv2.CC_STAT_AREA] >= least:
            yield spots == index


def _filled(mask: Bools) -> Bools:
    """``mask`` with its holes and narrow gaps, so that a dot in a ring or the halves beside a stripe belong
    together.
    """
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED).astype(bool)


def _opened(mask: Bools) -> Bools:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(bool)


def _classify(frame: NDArray[np.uint8], background: BackgroundColour | None) -> NDArray[np.int8]:
    """Index of the object colour of every pixel, -1 for background."""
    table = _colour_table(background)
    reduced = (frame >> 3).astype(np.int32)
    return np.asarray(table[(reduced[..., 0] << 10) | (reduced[..., 1] << 5) | reduced[..., 2]], np.int8)


@cache
def _colour_table(background: BackgroundColour | None) -> NDArray[np.int8]:
    levels = np.arange(32) * 8 + 4
    every = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    grounds = tuple(BackgroundColour) if background is None else (background,)
    behind = [
        np.clip(np.array(BACKGROUND_RGB[g]) + tone, 0, 255) for g in grounds for tone in _BACKGROUND_TONES
    ]
    known = _lab(np.array([*(OBJECT_RGB[c] for c in _COLOURS), *behind]))
    distance = np.linalg.norm(_lab(every)[:, None] - known[None], axis=2)
    nearest = distance.argmin(axis=1)
    return np.where(nearest < len(_COLOURS), nearest, -1).astype(np.int8)


def _lab(rgb: NDArray[np.generic]) -> Floats:
    """(N, 3) RGB in 0..255 to CIELAB."""
    pixels = np.asarray(rgb, np.float32)[None] / np.float32(255)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2Lab)[0], np.float32)


def _normalised(silhouette: Bools) -> Floats:
    """``silhouette`` moved to its centroid and scaled to unit area, on the comparison grid."""
    rows, columns = np.nonzero(silhouette)
    silhouette = np.pad(silhouette[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], 4)
    rows, columns = rows - rows.min() + 4, columns - columns.min() + 4
    radius = float(np.sqrt(len(rows) / pi))
    step = 2 * REACH * radius / GRID
    first_x = columns.mean() - REACH * radius + step / 2
    first_y = rows.mean() - REACH * radius + step / 2
    warp = np.array([[step, 0, first_x], [0, step, first_y]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    blurred = cv2.GaussianBlur(silhouette.astype(np.float32), (0, 0), max(0.01, step / 2))
    return np.asarray(cv2.warpAffine(blurred, warp, (GRID, GRID), flags=flags), np.float32)


@cache
def _templates(part: PartKind | None) -> tuple[list[Shape], Floats, Floats]:
    shapes: list[Shape] = []
    rows: list[Floats] = []
    for shape in Shape:
        symmetry = _TURNS.get(shape, 1 if part is PartKind.STRIPE else 0)
        if part is PartKind.STRIPE and symmetry:
            symmetry = 2 if symmetry in (1, 2, 4) else 1
        turns = np.arange(0, 360 / symmetry, 5) * pi / 180 if symmetry else np.zeros(1)
        for turn in turns:
            shapes.append(shape)
            rows.append(_normalised(_drawn(shape, float(turn), part)).ravel())
    templates = np.stack(rows)
    return shapes, templates, templates.sum(axis=1)


def _drawn(shape: Shape, turn: float, part: PartKind | None) -> Bools:
    steps = np.linspace(-1.3, 1.3, 161, dtype=np.float32)
    x, y = np.meshgrid(steps, steps)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u, v = x * c + y * s, y * c - x * s
    inside = signed_distance(shape, u, v) < 0
    if part is not None:
        inside &= part_distance(part, u, v) > 0
    return inside
