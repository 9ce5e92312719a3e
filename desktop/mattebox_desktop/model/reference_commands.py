"""Everything a user can do to a project's references, each one undo step.

A region has at most one reference at a frame.
"""

from __future__ import annotations

from mattebox_desktop.model.commands import require_clip
from mattebox_desktop.model.errors import PictureError, RangeError
from mattebox_desktop.model.project import ClipRef, Project
from mattebox_desktop.model.reference import Picture, Reference
from mattebox_desktop.model.region import Region


def add_reference(project: Project, frame: int, region: Region, picture: Picture) -> Reference:
    """Ties a picture to a region at a frame; where the region has a reference there, it gets the picture.

    Raises:
        RangeError: the frame is not one of the clip's, or the region is gone.
        PictureError: the picture has another size than the clip.
    """
    check_frame(project, frame)
    _check_region(project, region)
    _check_size(project, picture)
    there = _at(project, frame, region)
    if there is not None:
        replace_picture(project, there, picture)
        return there
    with project.changes.transaction("Add reference"):
        made = Reference(project.changes, frame, region, picture)
        project.references.append(made)
    return made


def replace_picture(project: Project, reference: Reference, picture: Picture) -> None:
    """Shows another picture. Versions that come quickly one after the other are one step.

    Raises:
        RangeError: the reference is gone.
        PictureError: the picture has another size than the clip.
    """
    _check_there(project, reference)
    _check_size(project, picture)
    with project.changes.transaction("Change reference", merge=("picture", reference.id)):
        reference.picture = picture


def move_reference(project: Project, reference: Reference, frame: int) -> None:
    """Says how the region should look at another frame.

    Raises:
        RangeError: the frame is not one of the clip's, or the region has a reference there.
    """
    _check_there(project, reference)
    check_frame(project, frame)
    _check_free(project, reference, frame, reference.region)
    with project.changes.transaction("Move reference", merge=("reference", reference.id)):
        reference.frame = frame


def bind_reference(project: Project, reference: Reference, region: Region) -> None:
    """Says that it is another region that should look so.

    Raises:
        RangeError: the region is gone, or has a reference at that frame.
    """
    _check_there(project, reference)
    _check_region(project, region)
    _check_free(project, reference, reference.frame, region)
    with project.changes.transaction(f"Bind reference to {region.name}"):
        reference.region = region


def remove_reference(project: Project, reference: Reference) -> None:
    _check_there(project, reference)
    with project.changes.transaction("Remove reference"):
        project.references.remove(reference)


def can_move(project: Project, reference: Reference, frame: int) -> bool:
    """Whether `move_reference` would do it."""
    clip = project.clip
    return (
        clip is not None
        and 0 <= frame < clip.frame_count
        and _at(project, frame, reference.region) in (None, reference)
    )


def _at(project: Project, frame: int, region: Region) -> Reference | None:
    return next((found for found in project.references_at(frame) if found.region is region), None)


def check_frame(project: Project, frame: int) -> ClipRef:
    """The clip. Raises RangeError for a frame outside it, IncompleteEditError without one."""
    clip = require_clip(project)
    if not 0 <= frame < clip.frame_count:
        raise RangeError(
            f"Frame {frame} is outside the clip; a reference stands at one of its frames, 0 to "
            f"{clip.frame_count - 1}."
        )
    return clip


def _check_region(project: Project, region: Region) -> None:
    if not any(region is other for other in project.regions):
        raise RangeError(
            f"The region “{region.name}” is gone; undo brings it back, or choose another region."
        )


def _check_there(project: Project, reference: Reference) -> None:
    if not any(reference is other for other in project.references):
        raise RangeError(f"{reference.words} is gone; undo brings it back.")


def _check_free(project: Project, reference: Reference, frame: int, region: Region) -> None:
    if _at(project, frame, region) not in (None, reference):
        raise RangeError(
            f"“{region.name}” has a reference at frame {frame} already; remove that one first, or choose "
            "another frame."
        )


def _check_size(project: Project, picture: Picture) -> None:
    clip = require_clip(project)
    if picture.shape != clip.shape:
        raise PictureError(
            f"The picture is {picture.shape[1]}×{picture.shape[0]} pixels and the clip is "
            f"{clip.width}×{clip.height}; a reference has the clip's size."
        )
