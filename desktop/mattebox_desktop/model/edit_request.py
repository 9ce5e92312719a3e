"""What is sent to be rendered, as plain values with no behaviour (Krita AI Diffusion's pattern)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mattebox_desktop.model.commands import require_clip
from mattebox_desktop.model.errors import IncompleteEditError
from mattebox_desktop.model.mask_track import Mask
from mattebox_desktop.model.project import Project, Value
from mattebox_desktop.model.region import MaskMode

AUTO = "auto"
DEFAULT_METHOD = "st-modulator"
"""What "auto" means: layout-guided attention, the one method of this version."""


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
class EditRequest:
    """Frames [start, stop) of the clip, to be rendered."""

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


def edit_request(project: Project, title: str) -> EditRequest:
    """The project as it is now, for the backend.

    Raises:
        IncompleteEditError: no clip, no painted region, or a prompt is missing; says which.
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
    return EditRequest(
        title=title,
        clip=clip.path,
        shape=clip.shape,
        start=start,
        stop=stop,
        prompt=project.prompt.strip() or " and ".join(region.prompt for region in regions),
        source_prompt=project.source_prompt.strip(),
        method=DEFAULT_METHOD if project.method == AUTO else project.method,
        backbone=project.backbone,
        seed=project.seed,
        regions=tuple(regions),
        params=dict(project.params),
    )
