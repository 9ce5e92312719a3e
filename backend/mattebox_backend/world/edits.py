"""Edits of a scene: values that turn a scene into the scene as it should be after the edit, from which the
true edited clip is rendered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from mattebox_backend.world.errors import InvalidScene
from mattebox_backend.world.scene import Part, Scene, SceneObject
from mattebox_backend.world.vocabulary import BackgroundColour, Colour, PartKind, Pattern, Shape


@dataclass(frozen=True, slots=True)
class Recolour:
    """Give an object another colour (a bloom ends there too)."""

    index: int
    colour: Colour


@dataclass(frozen=True, slots=True)
class Reshape:
    """Give an object another shape, in the same place and of the same size."""

    index: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class Resize:
    """Make an object larger or smaller: ``scale`` is the factor of its size, above 0. Its path stays, but
    where it meets a wall.
    """

    index: int
    scale: float


@dataclass(frozen=True, slots=True)
class Rebloom:
    """Let an object that changes over the clip turn to another colour; what it is at first stays."""

    index: int
    colour: Colour


@dataclass(frozen=True, slots=True)
class Swap:
    """Let two objects trade their looks (shape, colour, part); places, sizes and motions stay."""

    first: int
    second: int


@dataclass(frozen=True, slots=True)
class SetPart:
    """Add a part to an object, or change the one it has."""

    index: int
    kind: PartKind
    colour: Colour


@dataclass(frozen=True, slots=True)
class RemovePart:
    """Take the part off an object."""

    index: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Take an object out of the scene."""

    index: int


@dataclass(frozen=True, slots=True)
class ChangeBackground:
    """Give the background another colour, in the same pattern."""

    colour: BackgroundColour


@dataclass(frozen=True, slots=True)
class Restyle:
    """Lay the background out in another pattern, in the same colour."""

    pattern: Pattern


SceneEdit: TypeAlias = (
    Recolour | Reshape | Resize | Rebloom | Swap | SetPart | RemovePart | Remove | ChangeBackground | Restyle
)


def edit_scene(scene: Scene, edits: Iterable[SceneEdit]) -> Scene:
    """The true scene after ``edits``, applied in order.

    Raises :class:`InvalidScene` for an object that is not there, a size of nothing, and a bloom of an object
    that has none. Indices count in the scene as it was given: removals come last.
    """
    removed: set[int] = set()
    for edit in edits:
        if isinstance(edit, Remove):
            scene.check_object(edit.index)
            removed.add(edit.index)
        else:
            scene = _apply(scene, edit)
    return replace(scene, objects=tuple(item for n, item in enumerate(scene.objects) if n not in removed))


def _apply(scene: Scene, edit: SceneEdit) -> Scene:
    match edit:
        case ChangeBackground(colour):
            return replace(scene, background=replace(scene.background, colour=colour))
        case Restyle(pattern):
            return replace(scene, background=replace(scene.background, pattern=pattern))
        case Swap(first, second):
            scene.check_object(first)
            scene.check_object(second)
            a, b = scene.objects[first], scene.objects[second]
            return scene.with_object(first, _dressed_as(a, b)).with_object(second, _dressed_as(b, a))
        case Recolour(index, colour):
            item = _object(scene, index)
            bloom = None if item.bloom is None else replace(item.bloom, colour=colour)
            return scene.with_object(index, replace(item, colour=colour, bloom=bloom))
        case Reshape(index, shape):
            return scene.with_object(index, replace(_object(scene, index), shape=shape))
        case Resize(index, scale):
            item = _object(scene, index)
            return scene.with_object(index, replace(item, size=item.size * scale))
        case Rebloom(index, colour):
            item = _object(scene, index)
            if item.bloom is None:
                raise InvalidScene(f"Object {index} stays as it is; only what blooms can bloom otherwise.")
            return scene.with_object(index, replace(item, bloom=replace(item.bloom, colour=colour)))
        case SetPart(index, kind, colour):
            return scene.with_object(index, replace(_object(scene, index), part=Part(kind, colour)))
        case RemovePart(index):
            return scene.with_object(index, replace(_object(scene, index), part=None))
        case _:
            raise InvalidScene(
                f"{edit!r} is no edit of a scene; use the classes of mattebox_backend.world.edits."
            )


def _object(scene: Scene, index: int) -> SceneObject:
    scene.check_object(index)
    return scene.objects[index]


def _dressed_as(item: SceneObject, other: SceneObject) -> SceneObject:
    return replace(item, shape=other.shape, colour=other.colour, part=other.part, bloom=other.bloom)
