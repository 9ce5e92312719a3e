"""From a scene to pixels, masks and true flow; supersampled, deterministic, a few milliseconds a frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, cos, floor, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.world.scene import Background, Pose, Scene, SceneObject
from mattebox_backend.world.silhouettes import part_distance, signed_distance
from mattebox_backend.world.vocabulary import BACKGROUND_RGB, OBJECT_RGB, PartKind, Pattern

Frame = NDArray[np.uint8]
Floats = NDArray[np.float32]

SUPERSAMPLING = 2
CHECK_CELL = 32
NOISE_CELL = 16


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A rendered scene with its ground truth.

    ``frames``: (F, H, W, 3) uint8 RGB. ``masks``: (N, F, H, W) uint8, 255 where object n is seen. ``parts``:
    likewise for the part of object n, zero where it has none. ``flow``: (F-1, H, W, 2) float32, (dx, dy) in
    pixels from frame t to t+1. ``occluded``: (F-1, H, W) bool, where the point that is seen at t is hidden or
    out of the frame at t+1.
    """

    frames: Frame
    masks: Frame
    parts: Frame
    flow: Floats
    occluded: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Layer:
    """One object inside its bounding box at the supersampled size."""

    rows: slice
    columns: slice
    coverage: Floats
    part: Floats | None


def render(scene: Scene) -> Rendered:
    """Render every frame of ``scene`` with masks, flow and occlusion."""
    frames, owners, parts = [], [], []
    for time in range(scene.frames):
        layers = _layers(scene, time)
        frames.append(_compose(scene, time, layers))
        owner, part = _visibility(scene, layers)
        owners.append(owner)
        parts.append(part)
    count = len(scene.objects)
    owner_clip = np.stack(owners)
    part_clip = np.stack(parts)
    masks = (
        np.stack([(owner_clip == n) for n in range(count)])
        if count
        else np.zeros((0, *owner_clip.shape), bool)
    )
    part_masks = masks & part_clip[None]
    flow, occluded = _flow(scene, owner_clip)
    to_mask = np.uint8(255)
    return Rendered(np.stack(frames), masks * to_mask, part_masks * to_mask, flow, occluded)


def render_frame(scene: Scene, time: int) -> Frame:
    """One frame of ``scene`` as (H, W, 3) uint8 RGB, without masks and flow."""
    return _compose(scene, time, _layers(scene, time))


def owners(scene: Scene, time: int) -> NDArray[np.int8]:
    """(H, W) int8: the index of the object that is seen at every pixel of a frame, -1 for the background."""
    return _visibility(scene, _layers(scene, time))[0]


def visible_shares(scene: Scene, time: int) -> list[float]:
    """For each object, the share of its silhouette that is inside the frame and not covered, in [0, 1]."""
    layers = _layers(scene, time)
    owner, _ = _visibility(scene, layers)
    shares = []
    for index, item in enumerate(scene.objects):
        whole = _full_area(item, item.pose(time, scene.width, scene.height).size)
        shares.append(float(np.count_nonzero(owner == index)) / max(whole, 1.0))
    return shares


@lru_cache(maxsize=64)
def _unit_area(shape_item: SceneObject) -> float:
    steps = np.linspace(-1, 1, 129, dtype=np.float32)
    u, v = (np.asarray(axis, np.float32) for axis in np.meshgrid(steps, steps))
    inside = signed_distance(shape_item.shape, u, v) < 0
    if shape_item.part is not None and shape_item.part.kind is PartKind.DOT:
        inside |= part_distance(PartKind.DOT, u, v) < 0
    return float(inside.mean()) * 4.0


def _full_area(item: SceneObject, size: float) -> float:
    plain = SceneObject(item.shape, item.colour, 0, 0, 1, part=item.part)
    return _unit_area(plain) * size * size


def _layers(scene: Scene, time: int) -> list[_Layer]:
    return [_layer(item, item.pose(time, scene.width, scene.height), scene) for item in scene.objects]


def _layer(item: SceneObject, pose: Pose, scene: Scene) -> _Layer:
    reach = pose.size + 2
    scale = SUPERSAMPLING
    left, top = max(0, floor(pose.x - reach)), max(0, floor(pose.y - reach))
    right, bottom = min(scene.width, ceil(pose.x + reach)), min(scene.height, ceil(pose.y + reach))
    rows = slice(top * scale, max(top, bottom) * scale)
    columns = slice(left * scale, max(left, right) * scale)
    y = ((np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) / scale - np.float32(pose.y))[:, None]
    x = ((np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5) / scale - np.float32(pose.x))[
        None, :
    ]
    c, s = np.float32(cos(pose.angle) / pose.size), np.float32(sin(pose.angle) / pose.size)
    u, v = np.asarray(x * c + y * s, np.float32), np.asarray(y * c - x * s, np.float32)
    sharpness = np.float32(pose.size * scale)
    coverage = _coverage(signed_distance(item.shape, u, v), sharpness)
    part = None
    if item.part is not None:
        part = _coverage(part_distance(item.part.kind, u, v), sharpness)
        if item.part.kind is PartKind.DOT:
            coverage = np.maximum(coverage, part)  # a dot in a ring fills its hole
        part = np.minimum(part, coverage)
    return _Layer(rows, columns, coverage, part)


def _coverage(distance: Floats, sharpness: np.float32) -> Floats:
    return np.asarray(np.clip(0.5 - distance * sharpness, 0, 1), np.float32)


def _compose(scene: Scene, time: int, layers: list[_Layer]) -> Frame:
    scale = SUPERSAMPLING
    canvas = _background(scene.background, scene.width, scene.height, time)
    canvas = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
    for item, layer in zip(scene.objects, layers, strict=True):
        box = canvas[layer.rows, layer.columns]
        if box.size == 0:
            continue
        box += layer.coverage[..., None] * (_paint(item, time) - box)
        if item.part is not None and layer.part is not None:
            ink = np.array(OBJECT_RGB[item.part.colour], np.float32)
            box += layer.part[..., None] * (ink - box)
    small = cv2.resize(canvas, (scene.width, scene.height), interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def _paint(item: SceneObject, time: float) -> Floats:
    ink = np.array(OBJECT_RGB[item.colour], np.float32)
    if item.bloom is None:
        return ink
    target = np.array(OBJECT_RGB[item.bloom.colour], np.float32)
    return ink + np.float32(item.bloom.progress(time)) * (target - ink)


def _visibility(scene: Scene, layers: list[_Layer]) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Top-most object of every pixel (-1 is background), and whether its part is what one sees there."""
    scale = SUPERSAMPLING
    owner = np.full((scene.height, scene.width), -1, np.int8)
    part = np.zeros(owner.shape, bool)
    for index, layer in enumerate(layers):
        if layer.coverage.size == 0:
            continue
        rows = slice(layer.rows.start // scale, layer.rows.stop // scale)
        columns = slice(layer.columns.start // scale, layer.columns.stop // scale)
        covered = _shrink(layer.coverage) >= 0.5
        owner[rows, columns][covered] = index
        part[rows, columns][covered] = False
        if layer.part is not None:
            part[rows, columns][covered & (_shrink(layer.part) >= 0.5)] = True
    return owner, part


def _shrink(field: Floats) -> Floats:
    scale = SUPERSAMPLING
    height, width = field.shape
    mean: Floats = field.reshape(height // scale, scale, width // scale, scale).mean(axis=(1, 3))
    return mean


def _background(background: Background, width: int, height: int, time: float) -> Floats:
    """(H, W, 3) float32 in [0, 255]; the pattern moves by ``pan`` pixels a frame."""
    base = np.array(BACKGROUND_RGB[background.colour], np.float32)
    x = np.arange(width, dtype=np.float32) + 0.5 - np.float32(background.pan[0] * time)
    y = np.arange(height, dtype=np.float32) + 0.5 - np.float32(background.pan[1] * time)
    tone = _tone(background, x, y, width, height)
    return np.asarray(np.clip(base + tone[..., None], 0, 255), np.float32)


def _tone(background: Background, x: Floats, y: Floats, width: int, height: int) -> Floats:
    """(H, W) float32: what the pattern adds to the background colour."""
    if background.pattern is Pattern.GRADIENT:
        # a triangle wave with the period of twice the frame, so that a panning gradient has no seam
        wave = np.abs(((x / width) % 2) - 1)[None, :] + np.abs(((y / height) % 2) - 1)[:, None]
        return ((wave - 1) * 34).astype(np.float32)
    if background.pattern is Pattern.CHECKS:
        cells = np.floor(x / CHECK_CELL)[None, :] + np.floor(y / CHECK_CELL)[:, None]
        return np.where(cells % 2 == 0, np.float32(18), np.float32(-18))
    if background.pattern is Pattern.NOISE:
        return _smooth_noise(background.seed, x, y)
    return np.zeros((height, width), np.float32)


def _smooth_noise(seed: int, x: Floats, y: Floats) -> Floats:
    """Value noise on a lattice that repeats every 64 cells, bilinear between lattice points."""
    lattice = _lattice(seed)
    count = lattice.shape[0]
    gx, gy = x / NOISE_CELL, y / NOISE_CELL
    ix, iy = np.floor(gx).astype(int), np.floor(gy).astype(int)
    fx, fy = (gx - ix)[None, :], (gy - iy)[:, None]
    left, right, top, bottom = ix % count, (ix + 1) % count, iy % count, (iy + 1) % count
    upper = lattice[np.ix_(top, left)] * (1 - fx) + lattice[np.ix_(top, right)] * fx
    lower = lattice[np.ix_(bottom, left)] * (1 - fx) + lattice[np.ix_(bottom, right)] * fx
    mixed: Floats = upper * (1 - fy) + lower * fy
    return mixed


@lru_cache(maxsize=32)
def _lattice(seed: int) -> Floats:
    return np.random.default_rng(seed).uniform(-30, 30, (64, 64)).astype(np.float32)


def _flow(scene: Scene, owner: NDArray[np.int8]) -> tuple[Floats, NDArray[np.bool_]]:
    steps = scene.frames - 1
    flow = np.zeros((steps, scene.height, scene.width, 2), np.float32)
    occluded = np.zeros(flow.shape[:3], bool)
    rows, columns = np.mgrid[0 : scene.height, 0 : scene.width]
    x, y = columns + 0.5, rows + 0.5
    for time in range(steps):
        flow[time] = np.array(scene.background.pan, np.float32)
        for index, item in enumerate(scene.objects):
            seen = owner[time] == index
            before = item.pose(time, scene.width, scene.height)
            after = item.pose(time + 1, scene.width, scene.height)
            flow[time][seen] = _displacement(before, after, x[seen], y[seen])
        to_x = np.rint(columns + flow[time, ..., 0]).astype(int)
        to_y = np.rint(rows + flow[time, ..., 1]).astype(int)
        inside = (to_x >= 0) & (to_x < scene.width) & (to_y >= 0) & (to_y < scene.height)
        lands_on = owner[time + 1][np.clip(to_y, 0, scene.height - 1), np.clip(to_x, 0, scene.width - 1)]
        occluded[time] = ~inside | (lands_on != owner[time])
    return flow, occluded


def _displacement(before: Pose, after: Pose, x: NDArray[np.float64], y: NDArray[np.float64]) -> Floats:
    """Where the material points at ``(x, y)`` go when the object moves from one pose to the next."""
    turn, growth = after.angle - before.angle, after.size / before.size
    c, s = cos(turn) * growth, sin(turn) * growth
    dx, dy = x - before.x, y - before.y
    moved = np.stack([after.x + c * dx - s * dy - x, after.y + s * dx + c * dy - y], axis=-1)
    return moved.astype(np.float32)
