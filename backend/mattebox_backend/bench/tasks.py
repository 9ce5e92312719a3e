"""The fixed list of editing tasks: scenes of unseen seeds, what is to become of them, and what a correct
result holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.bench.errors import InvalidTasks
from mattebox_backend.masks.loose import boxed
from mattebox_backend.world.captions import background_phrase, caption, object_phrase
from mattebox_backend.world.edits import (
    ChangeBackground,
    Rebloom,
    Recolour,
    Remove,
    RemovePart,
    Reshape,
    Resize,
    Restyle,
    SceneEdit,
    SetPart,
    Swap,
)
from mattebox_backend.world.errors import InvalidScene
from mattebox_backend.world.render import Rendered, render
from mattebox_backend.world.scene import Scene, scene_from_json
from mattebox_backend.world.vocabulary import BackgroundColour, Colour, PartKind, Pattern, Shape

TASKS_VERSION = 1
MARGIN = 3
"""Pixels by which a region outgrows what it must hold when an edit changes a silhouette."""
ROOM = 0.1
"""The share of its length by which the box around an object is grown where an edit is given by pictures."""


class Level(StrEnum):
    """What an edit changes: how fine it is, from coarse to fine, or what lies behind the objects; and, of
    edits that are given by pictures, the look of one object, its form, or what it turns to over the clip.
    """

    CLASS = "class"
    INSTANCE = "instance"
    PART = "part"
    BACKGROUND = "background"
    LOOK = "look"
    FORM = "form"
    BLOOM = "bloom"


PROMPTED: Final = (Level.CLASS, Level.INSTANCE, Level.PART, Level.BACKGROUND)
"""Levels of the edits that prompts can tell."""
PICTURED: Final = (Level.LOOK, Level.FORM, Level.BLOOM)
"""Levels of the edits that are given by pictures of edited frames. Tasks of the first are 49 frames long, the
others 17.
"""
_LISTS: Final = {"tasks.json": PROMPTED, "pictured_tasks.json": PICTURED}


@dataclass(frozen=True, slots=True)
class TaskRegion:
    """A region of a task: the objects it covers (indices in the source scene; none means the background) and
    its prompt.
    """

    name: str
    prompt: str
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Task:
    """One edit with its ground truth; everything follows from the scene and the edits."""

    name: str
    level: Level
    scene: Scene
    edits: tuple[SceneEdit, ...]
    regions: tuple[TaskRegion, ...]
    seed: int

    @cached_property
    def edited_scene(self) -> Scene:
        """The scene as it should be after the edit."""
        return self.scene.edit(*self.edits)

    @cached_property
    def source(self) -> Rendered:
        """The clip to edit, with its masks."""
        return render(self.scene)

    @cached_property
    def truth(self) -> Rendered:
        """The clip as a perfect edit would make it, with its masks and flow."""
        return render(self.edited_scene)

    @property
    def source_prompt(self) -> str:
        """Global caption of the source, objects in scene order."""
        return caption(self.scene, order=range(len(self.scene.objects)))

    @property
    def prompt(self) -> str:
        """Global caption of the true edit, objects in scene order."""
        return caption(self.edited_scene, order=range(len(self.edited_scene.objects)))

    def source_masks(self, region: TaskRegion) -> NDArray[np.uint8]:
        """(F, H, W) uint8, 255 where the objects of ``region`` are seen in the source; the background's
        region is all but the objects.
        """
        if not region.objects:
            covered = self.source.masks.max(axis=0, initial=0)
            return np.asarray(255 - covered, np.uint8)
        return np.asarray(self.source.masks[list(region.objects)].max(axis=0), np.uint8)

    def region_masks(self, region: TaskRegion) -> NDArray[np.uint8]:
        """(F, H, W) uint8, 255 where ``region`` is: what its objects cover before or after the edit.

        Where the silhouette changes, the region is grown by :data:`MARGIN` pixels. Where the edit is given by
        pictures, it is the box around the object in the source, grown by :data:`ROOM`.
        """
        before = self.source_masks(region)
        if self.level in PICTURED:
            return np.stack([boxed(mask, ROOM) for mask in before])
        if not self._reshapes(region):
            return before
        after = [self.truth.masks[n] for n in self._survivors(region)]
        both = np.max([before, *after], axis=0)
        window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN + 1, 2 * MARGIN + 1))
        return np.stack([cv2.dilate(mask, window) for mask in both])

    def _reshapes(self, region: TaskRegion) -> bool:
        return any(isinstance(e, Reshape | Resize | Remove) and e.index in region.objects for e in self.edits)

    def _survivors(self, region: TaskRegion) -> list[int]:
        """Indices in the edited scene of the objects of ``region`` that are still there."""
        removed = sorted(e.index for e in self.edits if isinstance(e, Remove))
        kept = [n for n in region.objects if n not in removed]
        return [n - sum(r < n for r in removed) for n in kept]


def to_give_back(task: Task) -> Task:
    """The task whose true edit is the source itself: its regions and prompts name what is there."""
    regions = tuple(
        TaskRegion(region.name, expected_prompt(task.scene, region.objects), region.objects)
        for region in task.regions
    )
    return replace(task, edits=(), regions=regions)


def cut(task: Task, frames: int | None) -> Task:
    """The task on the first `frames` frames of its clip, on all where there are no more; None leaves it."""
    if frames is None:
        return task
    return replace(task, scene=replace(task.scene, frames=min(frames, task.scene.frames)))


def load_tasks(*levels: Level) -> list[Task]:
    """The shipped tasks of these levels, by default of all that prompts can tell. Several levels alternate,
    so that the first N are a fair choice of all.
    """
    wanted = levels or PROMPTED
    tasks = [
        task
        for name, held in _LISTS.items()
        if set(held) & set(wanted)
        for task in tasks_from_json((files("mattebox_backend.bench") / name).read_text(encoding="utf-8"))
        if task.level in wanted
    ]
    if len(set(wanted)) == 1:
        return tasks
    place = {task.name: _place(tasks, task) for task in tasks}
    return sorted(tasks, key=lambda task: place[task.name])


def list_hash(tasks: Sequence[Task]) -> str:
    """SHA-256 (hex) of the shipped lists that hold these tasks."""
    levels = {task.level for task in tasks}
    held = [tasks_to_json(load_tasks(*group)) for group in _LISTS.values() if levels & set(group)]
    return hashlib.sha256("".join(held).encode()).hexdigest()


def tasks_to_json(tasks: Sequence[Task]) -> str:
    """JSON text of a list of tasks."""
    return json.dumps(
        {"version": TASKS_VERSION, "tasks": [_to_json(task) for task in tasks]}, separators=(",", ":")
    )


def tasks_from_json(text: str) -> list[Task]:
    """Read a list of tasks. Raises :class:`InvalidTasks` with the cause."""
    try:
        data = json.loads(text)
        if data["version"] != TASKS_VERSION:
            raise InvalidTasks(
                f"The task list has version {data['version']}; this program reads {TASKS_VERSION}."
            )
        return [_from_json(item) for item in data["tasks"]]
    except (KeyError, TypeError, ValueError, InvalidScene) as error:
        raise InvalidTasks(f"The task list cannot be read: {error!r}.") from error


def expected_prompt(scene: Scene, objects: Sequence[int]) -> str:
    """The prompt of a region over ``objects`` of the edited ``scene``, or over its background when there are
    none.
    """
    return object_phrase(scene.objects[objects[0]]) if objects else background_phrase(scene.background)


def _place(tasks: Sequence[Task], task: Task) -> tuple[float, int]:
    same = [t.name for t in tasks if t.level is task.level]
    return (same.index(task.name) + 0.5) / len(same), list(Level).index(task.level)


def _to_json(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "level": task.level,
        "seed": task.seed,
        "scene": json.loads(task.scene.to_json()),
        "edits": [{"edit": type(edit).__name__, **asdict(edit)} for edit in task.edits],
        "regions": [asdict(region) for region in task.regions],
    }


def _from_json(data: dict[str, Any]) -> Task:
    return Task(
        name=data["name"],
        level=Level(data["level"]),
        seed=int(data["seed"]),
        scene=scene_from_json(json.dumps(data["scene"])),
        edits=tuple(_edit_from_json(edit) for edit in data["edits"]),
        regions=tuple(TaskRegion(r["name"], r["prompt"], tuple(r["objects"])) for r in data["regions"]),
    )


def _edit_from_json(data: dict[str, Any]) -> SceneEdit:
    match data["edit"]:
        case "Recolour":
            return Recolour(int(data["index"]), Colour(data["colour"]))
        case "Reshape":
            return Reshape(int(data["index"]), Shape(data["shape"]))
        case "Resize":
            return Resize(int(data["index"]), float(data["scale"]))
        case "Rebloom":
            return Rebloom(int(data["index"]), Colour(data["colour"]))
        case "Swap":
            return Swap(int(data["first"]), int(data["second"]))
        case "SetPart":
            return SetPart(int(data["index"]), PartKind(data["kind"]), Colour(data["colour"]))
        case "RemovePart":
            return RemovePart(int(data["index"]))
        case "Remove":
            return Remove(int(data["index"]))
        case "ChangeBackground":
            return ChangeBackground(BackgroundColour(data["colour"]))
        case "Restyle":
            return Restyle(Pattern(data["pattern"]))
        case other:
            raise InvalidTasks(f"{other!r} is no kind of edit; compare mattebox_backend.world.edits.")
