"""What is sent to be rendered, as plain values with no behaviour (Krita AI Diffusion's pattern)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mattebox_proto.limits import MAX_PICTURE_BYTES
from numpy.typing import NDArray

from mattebox_desktop.model.commands import require_clip
from mattebox_desktop.model.errors import (
    FirstReferenceError,
    IncompleteEditError,
    ReferencesUnusedError,
    WrongModelError,
)
from mattebox_desktop.model.mask_track import Mask
from mattebox_desktop.model.method_choice import Known, choose, fitting_model, runs_on
from mattebox_desktop.model.project import Project, Value
from mattebox_desktop.model.reference import Reference
from mattebox_desktop.model.region import MaskMode


@dataclass(frozen=True, slots=True, eq=False)
class RegionRequest:
    """masks: one (H, W) uint8 per frame of the range; the same array where a mask is held; None is empty."""

    name: str
    prompt: str
    color: str
    masks: tuple[Mask | None, ...]
    mode: MaskMode
    dilation: int
    feather: int
    order: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceRequest:
    """region: its name. pixels: (H, W, 3) uint8 at the clip's size."""

    frame: int
    region: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class EditRequest:
    """Frames [start, stop) of the clip, to be rendered. remarks: what the user may not have meant, a sentence
    each.
    """

    title: str
    clip: Path
    shape: tuple[int, int]
    start: int
    stop: int
    prompt: str
    source_prompt: str
    method: str
    backbone: str
    seed: int
    regions: tuple[RegionRequest, ...]
    params: Mapping[str, Value]
    references: tuple[ReferenceRequest, ...] = ()
    remarks: tuple[str, ...] = ()


NOTHING_KNOWN = Known()


def edit_request(
    project: Project, title: str, known: Known = NOTHING_KNOWN, *, with_references: bool = True
) -> EditRequest:
    """The project as it is now, for the backend.

    known: what the backend says of its methods and models; a parameter that was set for another method stays
    in the project. with_references: False renders as if there were none.

    Raises:
        IncompleteEditError: no clip, no painted region, or a prompt is missing; says which.
        ReferencesUnusedError: there are references and the method works from prompts alone.
        WrongModelError: the method does not run on the project's model.
        FirstReferenceError: the method carries references on, and a region has none at the in point.
    """
    clip = require_clip(project)
    start, stop = project.in_point, project.out_point
    if not project.regions:
        raise IncompleteEditError("There is no region yet; paint what should change, then render.")
    regions = []
    for order, region in enumerate(project.regions):
        if not region.visible:
            continue
        frozen: dict[int, Mask] = {}  # held masks stay one array, and painting on does not reach the request
        masks = []
        for frame in range(start, stop):
            mask = region.masks.mask_at(frame)
            masks.append(None if mask is None else frozen.setdefault(id(mask), mask.copy()))
        if not any(mask.any() for mask in frozen.values()):
            raise IncompleteEditError(
                f"The region “{region.name}” is empty between in and out; "
                "paint it there, hide it or delete it."
            )
        if not region.prompt.strip():
            raise IncompleteEditError(
                f"The region “{region.name}” has no prompt; say what should be there in the region list."
            )
        regions.append(
            RegionRequest(
                region.name,
                region.prompt.strip(),
                region.color,
                tuple(masks),
                region.mode,
                region.dilation,
                region.feather,
                order,
                region.words,
            )
        )
    if not regions:
        raise IncompleteEditError("Every region is hidden; show the ones that should change, then render.")
    used = used_references(project) if with_references else []
    choice = choose(project.method, project.backbone, known, with_references=bool(used))
    method = known.method(choice.method)
    if method is not None:
        if used and not method.takes_references:
            raise ReferencesUnusedError(method.title, len(used), known.for_references is not None)
        if not runs_on(method, choice.backbone, known):
            fitting = fitting_model(method, known)
            raise WrongModelError(method.title, choice.backbone, None if fitting is None else fitting.id)
        if method.takes_references:
            _check_first_frame(project, method.title, used)
    _check_weight(used)
    return EditRequest(
        title=title,
        clip=clip.path,
        shape=clip.shape,
        start=start,
        stop=stop,
        prompt=project.prompt.strip() or " and ".join(region.prompt for region in regions),
        source_prompt=project.source_prompt.strip(),
        method=choice.method,
        backbone=choice.backbone,
        seed=project.seed,
        regions=tuple(regions),
        params={
            name: value for name, value in project.params.items() if not known.of_another(name, choice.method)
        },
        references=tuple(
            ReferenceRequest(reference.frame, reference.region.name, reference.picture.pixels)
            for reference in used
        ),
        remarks=_remarks(project) if with_references else (),
    )


def used_references(project: Project) -> list[Reference]:
    """Those that a render takes: between in and out, of regions that are shown; in the order of frames."""
    inside = [reference for reference in project.references if _is_used(project, reference)]
    return sorted(inside, key=lambda reference: reference.frame)


def _is_used(project: Project, reference: Reference) -> bool:
    return project.in_point <= reference.frame < project.out_point and reference.region.visible


def _remarks(project: Project) -> tuple[str, ...]:
    """Which references are not used, and which show nothing new."""
    sentences = []
    for reference in sorted(project.references, key=lambda reference: reference.frame):
        if not reference.region.visible:
            sentences.append(f"{reference.words} is left out: its region is hidden.")
        elif not _is_used(project, reference):
            sentences.append(f"{reference.words} is left out: it lies outside in and out.")
        elif not reference.picture.edited:
            sentences.append(f"{reference.words} is not edited yet: it asks for what is there.")
    return tuple(sentences)


def regions_without_first(project: Project) -> list[Reference]:
    """A used reference of each region that has none at the in point."""
    first = project.in_point
    shown = {reference.region.id for reference in used_references(project) if reference.frame == first}
    found: dict[str, Reference] = {}
    for reference in used_references(project):
        if reference.region.id not in shown:
            found.setdefault(reference.region.id, reference)
    return list(found.values())


def _check_first_frame(project: Project, method: str, used: list[Reference]) -> None:
    if not used:
        raise FirstReferenceError(method, project.in_point, None, 0)
    for reference in regions_without_first(project):
        raise FirstReferenceError(method, project.in_point, reference.region.name, reference.frame)


def _check_weight(references: list[Reference]) -> None:
    needed = sum(reference.picture.nbytes for reference in references)
    if needed > MAX_PICTURE_BYTES:
        raise IncompleteEditError(
            f"The {len(references)} references take {needed >> 20} MiB, and an edit carries "
            f"{MAX_PICTURE_BYTES >> 20}; remove some, or set in and out closer."
        )
