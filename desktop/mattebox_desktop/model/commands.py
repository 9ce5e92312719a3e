"""Everything a user can do to a project, each one undo step.

Views call these; nothing else opens a transaction on a project but the stroke tools and the loader.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mattebox_desktop.model.errors import IncompleteEditError, RangeError
from mattebox_desktop.model.observed import Observed
from mattebox_desktop.model.project import ClipRef, Project, Take, Value
from mattebox_desktop.model.region import MaskMode, Region, next_look


def set_clip(project: Project, clip: ClipRef) -> None:
    """Opens a clip in an empty project: the whole of it, in to out."""
    with project.changes.transaction("Open clip"):
        project.clip = clip
        project.in_point, project.out_point = 0, clip.frame_count


def set_range(project: Project, start: int, stop: int) -> None:
    """Sets the in and out points: frames [start, stop).

    Raises:
        RangeError: no frame lies between them, or they leave the clip.
    """
    clip = require_clip(project)
    if not 0 <= start < stop <= clip.frame_count:
        raise RangeError(
            f"In {start} to out {stop} holds no frame of this clip; put the in point before the out point, "
            f"both between 0 and {clip.frame_count}."
        )
    with project.changes.transaction("Set in and out", merge="range"):
        project.in_point, project.out_point = start, stop


def set_in(project: Project, frame: int) -> None:
    """Starts the range at `frame`; an out point before it moves to the clip's end."""
    clip = require_clip(project)
    frame = min(max(0, frame), clip.frame_count - 1)
    set_range(project, frame, project.out_point if project.out_point > frame else clip.frame_count)


def set_out(project: Project, frame: int) -> None:
    """Ends the range with `frame` in it; an in point after it moves to the clip's start."""
    clip = require_clip(project)
    frame = min(max(0, frame), clip.frame_count - 1)
    set_range(project, project.in_point if project.in_point <= frame else 0, frame + 1)


def set_prompt(project: Project, text: str) -> None:
    _set(project, Project.prompt, text, "Edit prompt")


def set_source_prompt(project: Project, text: str) -> None:
    _set(project, Project.source_prompt, text, "Edit “was”")


def describe_prompt(project: Project, text: str) -> None:
    """Puts a captioner's words in place of the prompt: a step of its own, also right after typing."""
    with project.changes.transaction("Describe into prompt"):
        project.prompt = text


def describe_source_prompt(project: Project, text: str) -> None:
    """The same for what the clip shows."""
    with project.changes.transaction("Describe “was”"):
        project.source_prompt = text


def set_method(project: Project, method: str) -> None:
    _set(project, Project.method, method, "Choose method")


def set_backbone(project: Project, backbone: str) -> None:
    _set(project, Project.backbone, backbone, "Choose model")


def set_seed(project: Project, seed: int) -> None:
    _set(project, Project.seed, seed, "Set seed")


def set_parameter(project: Project, name: str, value: Value) -> None:
    with project.changes.transaction(f"Set {name}", merge=("parameter", name)):
        project.params = {**project.params, name: value}


def reset_parameter(project: Project, name: str) -> None:
    """Goes back to the default."""
    with project.changes.transaction(f"Reset {name}"):
        project.params = {key: value for key, value in project.params.items() if key != name}


def add_region(project: Project, name: str = "", prompt: str = "") -> Region:
    """Adds an empty region on top, with a colour and a letter of its own."""
    clip = require_clip(project)
    look = next_look(project.looks)
    with project.changes.transaction("Add region"):
        region = Region(project.changes, clip.shape, clip.frame_count)
        region.name = name or f"Region {look.letter}"
        region.prompt = prompt
        region.color, region.letter = look.color, look.letter
        project.regions.append(region)
    return region


def remove_region(project: Project, region: Region) -> None:
    """Its references go with it, and come back with it."""
    with project.changes.transaction(f"Delete {region.name}"):
        for reference in project.references_of(region):
            project.references.remove(reference)
        project.regions.remove(region)


def move_region(project: Project, region: Region, index: int) -> None:
    """Changes the stacking: regions later in the list lie on top."""
    with project.changes.transaction(f"Reorder {region.name}"):
        project.regions.move(region, min(max(0, index), len(project.regions) - 1))


def rename_region(project: Project, region: Region, name: str) -> None:
    with project.changes.transaction("Rename region", merge=("name", region.id)):
        region.name = name.strip() or region.name


def set_region_prompt(project: Project, region: Region, prompt: str) -> None:
    """Says what should be there. Words that an edit file picked out of the prompt before no longer hold."""
    with project.changes.transaction(f"Edit prompt of {region.name}", merge=("prompt", region.id)):
        region.prompt, region.words = prompt, ()


def set_region_color(project: Project, region: Region, color: str) -> None:
    with project.changes.transaction(f"Recolour {region.name}"):
        region.color = color


def set_region_visible(project: Project, region: Region, visible: bool) -> None:
    with project.changes.transaction(f"{'Show' if visible else 'Hide'} {region.name}"):
        region.visible = visible


def set_region_edge(project: Project, region: Region, *, mode: MaskMode, dilation: int, feather: int) -> None:
    """Sets how the mask is widened (dilation in pixels) and how soft its edge is (feather in pixels)."""
    with project.changes.transaction(f"Edge of {region.name}", merge=("edge", region.id)):
        region.mode, region.dilation, region.feather = mode, max(0, dilation), max(0, feather)


def hold_mask(project: Project, region: Region, source: int, start: int, stop: int) -> None:
    """Shows the mask of frame `source` over [start, stop)."""
    with project.changes.transaction(f"Hold mask of {region.name}"):
        region.masks.hold(source, start, stop)


def clear_mask(project: Project, region: Region, frame: int) -> None:
    """Empties the mask from `frame` to the next key."""
    with project.changes.transaction(f"Clear mask of {region.name}"):
        region.masks.set_key(frame, None)


def remove_key(project: Project, region: Region, frame: int) -> None:
    """Takes the key that `frame` shows away: the key before it is held on."""
    key = region.masks.key_at(frame)
    if key is None:
        raise RangeError(f"“{region.name}” has no key at or before frame {frame}; paint there to make one.")
    with project.changes.transaction(f"Delete key of {region.name}"):
        region.masks.remove_key(key)


def fill_mask(project: Project, region: Region, frame: int) -> None:
    """Makes the whole frame part of the region, from `frame` to the next key."""
    with project.changes.transaction(f"Fill mask of {region.name}"):
        region.masks.set_key(frame, np.full(region.masks.shape, 255, np.uint8))


def await_take(project: Project, job: str) -> None:
    """Notes that the take of a job belongs to this project, until it has come. Not an undo step."""
    if job not in project.awaited_jobs:
        with project.changes.transaction("Render", undoable=False):
            project.awaited_jobs = (*project.awaited_jobs, job)


def stop_awaiting(project: Project, job: str) -> None:
    """The take of a job has come, or never will. Not an undo step."""
    with project.changes.transaction("End render", undoable=False):
        project.awaited_jobs = tuple(other for other in project.awaited_jobs if other != job)


def add_take(project: Project, take: Take) -> None:
    """Adds what the backend made. Not an undo step: the user did not do it, and what they undid stays
    redoable.
    """
    with project.changes.transaction(f"Add {take.name}", undoable=False):
        project.takes.append(take)


def remove_take(project: Project, take: Take) -> None:
    with project.changes.transaction(f"Delete {take.name}"):
        project.takes.remove(take)
        if project.take_in_use == take.id:
            project.take_in_use = None


def use_take(project: Project, take: Take | None) -> None:
    """Chooses what stands for the clip in the viewer and in an export; None is the source."""
    with project.changes.transaction("Choose take"):
        project.take_in_use = None if take is None else take.id


def require_clip(project: Project) -> ClipRef:
    """Raises IncompleteEditError when the project has no clip."""
    if project.clip is None:
        raise IncompleteEditError("There is no clip yet; open one first.")
    return project.clip


def _set(project: Project, prop: Observed[str] | Observed[int], value: str | int, title: str) -> None:
    setter: Callable[[Project, str | int], None] = prop.__set__  # type: ignore[assignment]
    with project.changes.transaction(title, merge=("project", title)):
        setter(project, value)
