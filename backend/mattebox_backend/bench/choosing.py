"""Chooses the fixed list of tasks from seeds that no training saw. The list it gives is committed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np

from mattebox_backend.bench.tasks import Level, Task, TaskRegion, expected_prompt
from mattebox_backend.pocket.seeds import BENCH_SEEDS
from mattebox_backend.world.edits import (
    ChangeBackground,
    Recolour,
    Remove,
    Reshape,
    Restyle,
    SceneEdit,
    SetPart,
)
from mattebox_backend.world.render import visible_shares
from mattebox_backend.world.sampling import SceneOptions, sample_scene
from mattebox_backend.world.scene import Scene
from mattebox_backend.world.vocabulary import BackgroundColour, Colour, PartKind, Pattern, Shape

SEEDS_PER_KIND = 1_000_000
SOLID = (Shape.CIRCLE, Shape.SQUARE, Shape.TRIANGLE)
"""Shapes on which a part lies wholly, not in a gap of the object."""


def choose_tasks() -> list[Task]:
    """20 tasks at class level, 20 at instance level, 10 at part level, 10 on the background; the same list
    every time.
    """
    tasks: list[Task] = []
    tasks += _named(Level.CLASS, [*_recolour_class(0, 1, 7), *_recolour_class(1, 2, 7), *_reshape(2, 6)])
    tasks += _named(Level.INSTANCE, [*_recolour_instances(3, 2, 14), *_recolour_instances(4, 3, 6)])
    tasks += _named(Level.PART, [*_add_part(5, 5), *_change_part(6, 5)])
    tasks += _named(Level.BACKGROUND, [*_recolour_background(7, 3), *_restyle(8, 2), *_remove(9, 5)])
    return tasks


def _named(level: Level, tasks: list[Task]) -> list[Task]:
    return [
        Task(f"{level}-{n:02d}", level, task.scene, task.edits, task.regions, seed=n)
        for n, task in enumerate(tasks)
    ]


def _scenes(
    kind: int, objects: int, *, parts: float = 0.0, same_shape: float = 1.0
) -> Iterator[tuple[Scene, np.random.Generator]]:
    """Scenes with ``objects`` objects that stay in full view over the whole clip, and a generator for what
    becomes of each.
    """
    options = SceneOptions(
        counts=tuple(float(n == objects) for n in range(4)),
        parts=parts,
        blooms=0,
        same_shape=same_shape,
        crowding=0,
    )
    for number in count(BENCH_SEEDS + kind * SEEDS_PER_KIND):
        scene = sample_scene(number, options)
        if all(min(visible_shares(scene, time)) > 0.97 for time in range(scene.frames)):
            yield scene, np.random.default_rng((number, kind))


def _task(scene: Scene, edits: tuple[SceneEdit, ...], groups: list[tuple[int, ...]]) -> Task:
    edited = scene.edit(*edits)
    removed = {edit.index for edit in edits if isinstance(edit, Remove)}
    regions = []
    for number, group in enumerate(groups):
        shown = () if removed & set(group) else group
        name = f"region-{number + 1}" if group else "background"
        regions.append(TaskRegion(name, expected_prompt(edited, shown), group))
    return Task("", Level.CLASS, scene, edits, tuple(regions), seed=0)


def _recolour_class(kind: int, objects: int, wanted: int) -> list[Task]:
    """Every object of the scene's one class gets the same new colour."""
    tasks: list[Task] = []
    for scene, rng in _scenes(kind, objects):
        colour = _new_colours(rng, scene, 1)[0]
        edits = tuple(Recolour(n, colour) for n in range(objects))
        tasks.append(_task(scene, edits, [tuple(range(objects))]))
        if len(tasks) == wanted:
            break
    return tasks


def _reshape(kind: int, wanted: int) -> list[Task]:
    """The one object gets another shape and another colour."""
    tasks: list[Task] = []
    for scene, rng in _scenes(kind, 1):
        others = [shape for shape in Shape if shape is not scene.objects[0].shape]
        shape = others[int(rng.integers(len(others)))]
        edits = (Reshape(0, shape), Recolour(0, _new_colours(rng, scene, 1)[0]))
        tasks.append(_task(scene, edits, [(0,)]))
        if len(tasks) == wanted:
            break
    return tasks


def _recolour_instances(kind: int, objects: int, wanted: int) -> list[Task]:
    """Every object of one class gets a colour of its own that none of them had."""
    tasks: list[Task] = []
    for scene, rng in _scenes(kind, objects):
        colours = _new_colours(rng, scene, objects)
        edits = tuple(Recolour(n, colour) for n, colour in enumerate(colours))
        tasks.append(_task(scene, edits, [(n,) for n in range(objects)]))
        if len(tasks) == wanted:
            break
    return tasks


def _add_part(kind: int, wanted: int) -> list[Task]:
    tasks: list[Task] = []
    for scene, rng in _scenes(kind, 1):
        part = SetPart(0, list(PartKind)[int(rng.integers(2))], _new_colours(rng, scene, 1)[0])
        if scene.objects[0].shape in SOLID:
            tasks.append(_task(scene, (part,), [(0,)]))
        if len(tasks) == wanted:
            break
    return tasks


def _change_part(kind: int, wanted: int) -> list[Task]:
    tasks: list[Task] = []
    for scene, rng in _scenes(kind, 1, parts=1.0):
        part = scene.objects[0].part
        if part is not None and scene.objects[0].shape in SOLID:
            tasks.append(_task(scene, (SetPart(0, part.kind, _new_colours(rng, scene, 1)[0]),), [(0,)]))
        if len(tasks) == wanted:
            break
    return tasks


def _recolour_background(kind: int, wanted: int) -> list[Task]:
    tasks: list[Task] = []
    for scene, rng in _scenes(kind, 1):
        others = [colour for colour in BackgroundColour if colour is not scene.background.colour]
        tasks.append(_task(scene, (ChangeBackground(others[int(rng.integers(3))]),), [()]))
        if len(tasks) == wanted:
            break
    return tasks


def _restyle(kind: int, wanted: int) -> list[Task]:
    tasks: list[Task] = []
    for scene, _ in _scenes(kind, 1):
        if scene.background.pattern is Pattern.PLAIN:
            tasks.append(_task(scene, (Restyle(Pattern.CHECKS),), [()]))
        if len(tasks) == wanted:
            break
    return tasks


def _remove(kind: int, wanted: int) -> list[Task]:
    """One of two different objects goes away."""
    tasks: list[Task] = []
    for scene, rng in _scenes(kind, 2, same_shape=0.0):
        gone = int(rng.integers(2))
        tasks.append(_task(scene, (Remove(gone),), [(gone,)]))
        if len(tasks) == wanted:
            break
    return tasks


def _new_colours(rng: np.random.Generator, scene: Scene, wanted: int) -> list[Colour]:
    """Different colours that nothing in ``scene`` has."""
    taken = {item.colour for item in scene.objects} | {
        item.part.colour for item in scene.objects if item.part
    }
    free = [colour for colour in Colour if colour not in taken]
    return [free[int(n)] for n in rng.permutation(len(free))[:wanted]]
