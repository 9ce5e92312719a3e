"""Chooses the fixed list of tasks that are given by pictures, as `choosing` does that of prompts, from a
stretch of its own of the seeds that no training saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Final

import numpy as np

from mattebox_backend.bench.choosing import SEEDS_PER_KIND, SOLID
from mattebox_backend.bench.tasks import Level, Task, TaskRegion, expected_prompt
from mattebox_backend.pocket.seeds import BENCH_SEEDS
from mattebox_backend.world.edits import Rebloom, Recolour, Reshape, Resize, SceneEdit, SetPart
from mattebox_backend.world.render import visible_shares
from mattebox_backend.world.sampling import SceneOptions, sample_scene
from mattebox_backend.world.scene import Bloom, Scene
from mattebox_backend.world.vocabulary import Colour, PartKind, Shape

FRAMES: Final = 17
LONGEST: Final = 49
GROWTH: Final = 1.15
"""Of an object that grows: what the box around it, grown by a tenth on each side, still holds."""
CLIPPED: Final = 0.08
"""Of an object whose form changes, the share of what it becomes that lies outside of what it was."""
_OPTIONS = SceneOptions(counts=(0.0, 0.5, 0.5, 0.0), parts=0.0, blooms=0.0, crowding=0.0)
_FIRST_KIND = 20


def choose_pictured_tasks() -> list[Task]:
    """12 tasks each of looks, forms and blooms; the same list every time."""
    look = [*_first(6, _recolour(0)), *_first(6, _recolour_with_part(1))]
    form = [*_first(6, _reshape(2)), *_first(6, _grow(3))]
    return [
        *_named(Level.LOOK, _alternating(look)),
        *_named(Level.FORM, _alternating(form)),
        *_named(Level.BLOOM, _first(12, _bloom(4))),
    ]


def _named(level: Level, tasks: list[Task]) -> list[Task]:
    return [
        replace(task, name=f"{level}-{number:02d}", level=level, seed=number)
        for number, task in enumerate(tasks)
    ]


def _alternating(tasks: list[Task]) -> list[Task]:
    """One of the first half, one of the second, and so on."""
    half = len(tasks) // 2
    return [task for pair in zip(tasks[:half], tasks[half:], strict=True) for task in pair]


def _first(wanted: int, tasks: Iterator[Task]) -> list[Task]:
    return [next(tasks) for _ in range(wanted)]


def _scenes(kind: int, frames: int) -> Iterator[tuple[Scene, int, np.random.Generator]]:
    """Scenes of one or two objects in full view, which of them is edited, and a generator for what becomes
    of it.
    """
    for number in count(BENCH_SEEDS + (_FIRST_KIND + kind) * SEEDS_PER_KIND):
        scene = sample_scene(number, _OPTIONS, frames=frames)
        rng = np.random.default_rng((number, kind))
        if _in_view(scene):
            yield scene, int(rng.integers(len(scene.objects))), rng


def _in_view(scene: Scene) -> bool:
    return all(min(visible_shares(scene, time)) > 0.97 for time in range(scene.frames))


def _task(scene: Scene, index: int, *edits: SceneEdit) -> Task:
    prompt = expected_prompt(scene.edit(*edits), (index,))
    return Task("", Level.LOOK, scene, edits, (TaskRegion("region-1", prompt, (index,)),), seed=0)


def _recolour(kind: int) -> Iterator[Task]:
    for scene, index, rng in _scenes(kind, LONGEST):
        yield _task(scene, index, Recolour(index, _colours(rng, scene, 1)[0]))


def _recolour_with_part(kind: int) -> Iterator[Task]:
    for scene, index, rng in _scenes(kind, LONGEST):
        colour, of_part = _colours(rng, scene, 2)
        part = SetPart(index, list(PartKind)[int(rng.integers(2))], of_part)
        if scene.objects[index].shape in SOLID:
            yield _task(scene, index, Recolour(index, colour), part)


def _reshape(kind: int) -> Iterator[Task]:
    for scene, index, rng in _scenes(kind, FRAMES):
        others = [shape for shape in Shape if shape is not scene.objects[index].shape]
        shape = others[int(rng.integers(len(others)))]
        task = _task(scene, index, Reshape(index, shape), Recolour(index, _colours(rng, scene, 1)[0]))
        if _in_view(task.edited_scene) and _fits_the_box_alone(task):
            yield task


def _grow(kind: int) -> Iterator[Task]:
    for scene, index, rng in _scenes(kind, FRAMES):
        task = _task(scene, index, Resize(index, GROWTH), Recolour(index, _colours(rng, scene, 1)[0]))
        if _on_the_same_path(task) and _in_view(task.edited_scene) and _fits_the_box_alone(task):
            yield task


def _bloom(kind: int) -> Iterator[Task]:
    """What turns from one colour to another turns from a third to a fourth: the first frame, which shows the
    third, does not tell; all is done before the last quarter of the clip begins.
    """
    for scene, index, rng in _scenes(kind, FRAMES):
        turned, first, last = _colours(rng, scene, 3)
        start = float(rng.uniform(2.0, 5.0))
        bloom = Bloom(turned, float(rng.uniform(1.0, 1.2)), start, start + 0.4 * FRAMES)
        scene = scene.with_object(index, replace(scene.objects[index], bloom=bloom))
        if _in_view(scene):
            yield _task(scene, index, Recolour(index, first), Rebloom(index, last))


def _on_the_same_path(task: Task) -> bool:
    """A larger object turns back from a wall earlier."""
    scenes = (task.scene, task.edited_scene)
    index = task.regions[0].objects[0]
    poses = [
        [scene.objects[index].pose(time, scene.width, scene.height) for time in range(scene.frames)]
        for scene in scenes
    ]
    return all((one.x, one.y) == (other.x, other.y) for one, other in zip(*poses, strict=True))


def _fits_the_box_alone(task: Task) -> bool:
    """Whether all that changes lies in the box around what the object was, soft edges too, and not within
    its outline.
    """
    region = task.regions[0]
    changed = (task.source.frames != task.truth.frames).any(axis=-1)
    after = task.truth.masks[region.objects[0]] > 0
    boxed, tight = task.region_masks(region) > 0, task.source_masks(region) > 0
    outside = np.count_nonzero(after & ~tight, axis=(1, 2)) / np.count_nonzero(after, axis=(1, 2))
    return not (changed & ~boxed).any() and bool(outside.min() >= CLIPPED)


def _colours(rng: np.random.Generator, scene: Scene, wanted: int) -> list[Colour]:
    """Different colours that nothing in ``scene`` has."""
    free = [colour for colour in Colour if colour not in {item.colour for item in scene.objects}]
    return [free[int(n)] for n in rng.permutation(len(free))[:wanted]]
