"""Scenes from seeds: the distribution that the pocket models are trained and measured on."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np

from mattebox_backend.world.scene import Background, Bloom, Motion, Part, Scene, SceneObject
from mattebox_backend.world.vocabulary import BackgroundColour, Colour, MotionKind, PartKind, Pattern, Shape

_TRIES = 60


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """What a sampled scene may hold.

    ``objects`` and the shares are probabilities: ``counts[n]`` that a scene has n objects, ``parts`` and
    ``blooms`` per object, ``same_shape`` that all objects of a scene share one shape, ``panning`` that the
    background moves, ``crowding`` that objects may overlap. ``radius[n]`` is the range of sizes (pixels at a
    frame of 128) for n objects.
    """

    counts: tuple[float, ...] = (0.04, 0.36, 0.42, 0.18)
    parts: float = 0.15
    blooms: float = 0.06
    same_shape: float = 0.45
    panning: float = 0.3
    crowding: float = 0.1
    radius: tuple[tuple[float, float], ...] = ((0, 0), (20, 35), (18, 28), (15, 21))
    shapes: tuple[Shape, ...] = tuple(Shape)


DEFAULT_OPTIONS = SceneOptions()


def sample_scene(
    seed: int,
    options: SceneOptions = DEFAULT_OPTIONS,
    *,
    width: int = 128,
    height: int = 128,
    frames: int = 16,
) -> Scene:
    """The scene of ``seed``: the same on every machine and in every version of NumPy that keeps PCG64."""
    rng = np.random.default_rng(seed)
    unit = min(width, height) / 128
    count = int(rng.choice(len(options.counts), p=np.asarray(options.counts) / sum(options.counts)))
    shapes = _shapes(rng, count, options)
    colours = _colours(rng, count, distinct=len(set(shapes)) < count or rng.random() < 0.7)
    sizes = [
        float(rng.uniform(*options.radius[min(count, len(options.radius) - 1)])) * unit for _ in range(count)
    ]
    apart = 0.55 if rng.random() < options.crowding else 1.02
    motions = [_motion(rng, unit) for _ in range(count)]
    places = _places(rng, sizes, motions, apart, width, height, frames)
    objects = tuple(
        SceneObject(
            shape=shapes[n],
            colour=colours[n],
            x=places[n][0],
            y=places[n][1],
            size=sizes[n],
            angle=float(rng.uniform(0, 2 * pi)) if rng.random() < 0.4 else 0.0,
            motion=motions[n],
            part=_part(rng, colours[n]) if rng.random() < options.parts else None,
            bloom=_bloom(rng, colours[n], frames) if rng.random() < options.blooms else None,
        )
        for n in range(count)
    )
    return Scene(objects, _background(rng, options), width, height, frames)


def _shapes(rng: np.random.Generator, count: int, options: SceneOptions) -> list[Shape]:
    if count and rng.random() < options.same_shape:
        return [options.shapes[int(rng.integers(len(options.shapes)))]] * count
    return [options.shapes[int(rng.integers(len(options.shapes)))] for _ in range(count)]


def _colours(rng: np.random.Generator, count: int, *, distinct: bool) -> list[Colour]:
    palette = list(Colour)
    if distinct:
        return [palette[int(k)] for k in rng.permutation(len(palette))[:count]]
    return [palette[int(rng.integers(len(palette)))] for _ in range(count)]


def _motion(rng: np.random.Generator, unit: float) -> Motion:
    kind = list(MotionKind)[int(rng.choice(5, p=(0.1, 0.4, 0.2, 0.15, 0.15)))]
    sign = 1.0 if rng.random() < 0.5 else -1.0
    if kind is MotionKind.LINEAR:
        speed, turn = rng.uniform(0.6, 2.2) * unit, rng.uniform(0, 2 * pi)
        return Motion(kind, velocity=(float(speed * np.cos(turn)), float(speed * np.sin(turn))))
    if kind is MotionKind.ORBIT:
        radius, rate = rng.uniform(4, 10) * unit, sign * rng.uniform(0.12, 0.3)
        return Motion(kind, radius=float(radius), rate=float(rate), phase=float(rng.uniform(0, 2 * pi)))
    if kind is MotionKind.SPIN:
        return Motion(kind, rate=float(sign * rng.uniform(0.04, 0.16)))
    if kind is MotionKind.PULSE:
        return Motion(kind, rate=float(rng.uniform(0.25, 0.6)), amplitude=float(rng.uniform(0.08, 0.18)))
    return Motion()


def _places(
    rng: np.random.Generator,
    sizes: list[float],
    motions: list[Motion],
    apart: float,
    width: int,
    height: int,
    frames: int,
) -> list[tuple[float, float]]:
    """Starting centres that keep the objects ``apart`` (share of the sum of their radii) over the clip, as
    well as can be found.
    """
    best: list[tuple[float, float]] = []
    best_gap = -np.inf
    for _ in range(_TRIES):
        places = [
            (
                float(rng.uniform(r, max(r + 1e-3, width - r))),
                float(rng.uniform(r, max(r + 1e-3, height - r))),
            )
            for r in sizes
        ]
        gap = _closest(sizes, motions, places, width, height, frames)
        if gap > best_gap:
            best, best_gap = places, gap
        if best_gap >= apart:
            break
    return best


def _closest(
    sizes: list[float],
    motions: list[Motion],
    places: list[tuple[float, float]],
    width: int,
    height: int,
    frames: int,
) -> float:
    """Smallest distance of two centres over the clip, as a share of the sum of their radii."""
    if len(sizes) < 2:
        return np.inf
    times = sorted({0, frames // 4, frames // 2, 3 * frames // 4, frames - 1})
    probes = [
        SceneObject(Shape.CIRCLE, Colour.RED, *p, r, motion=m)
        for r, m, p in zip(sizes, motions, places, strict=True)
    ]
    smallest = np.inf
    for time in times:
        poses = [probe.pose(time, width, height) for probe in probes]
        for i, a in enumerate(poses):
            for b in poses[i + 1 :]:
                smallest = min(smallest, float(np.hypot(a.x - b.x, a.y - b.y)) / (a.size + b.size))
    return smallest


def _part(rng: np.random.Generator, colour: Colour) -> Part:
    return Part(list(PartKind)[int(rng.integers(2))], _other_colour(rng, colour))


def _bloom(rng: np.random.Generator, colour: Colour, frames: int) -> Bloom:
    start = float(rng.uniform(0, 0.4) * frames)
    return Bloom(_other_colour(rng, colour), float(rng.uniform(1.0, 1.25)), start, start + 0.4 * frames)


def _other_colour(rng: np.random.Generator, colour: Colour) -> Colour:
    others = [c for c in Colour if c is not colour]
    return others[int(rng.integers(len(others)))]


def _background(rng: np.random.Generator, options: SceneOptions) -> Background:
    colour = list(BackgroundColour)[int(rng.integers(4))]
    pattern = list(Pattern)[int(rng.choice(4, p=(0.34, 0.22, 0.22, 0.22)))]
    pan = (0.0, 0.0)
    if rng.random() < options.panning:
        pan = (float(rng.uniform(-1.5, 1.5)), float(rng.uniform(-1.0, 1.0)))
    return Background(colour, pattern, pan, int(rng.integers(2**31)))
