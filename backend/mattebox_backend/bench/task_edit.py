"""A task as an edit of a clip in a file."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

from mattebox_media import write_clip

from mattebox_backend.bench.tasks import Task
from mattebox_backend.bench.variants import Variant
from mattebox_backend.edit import Edit, Reference, Region
from mattebox_backend.methods import find_method


def build_edit(task: Task, clip: Path, method: str, backbone: str, variant: Variant) -> Edit:
    """The edit that ``task`` asks for, of its source clip at ``clip``.

    A method that takes references is shown frames of the true edit, and gets the masks of what the regions
    hold in the source: it makes the room that it needs itself. Raises `BenchError` for a reference outside
    of the clip.
    """
    pictured = find_method(method).description.takes_references
    regions = tuple(
        Region(
            name=region.name,
            prompt=region.prompt,
            masks=task.source_masks(region) if pictured else task.region_masks(region),
            order=order,
        )
        for order, region in enumerate(task.regions)
    )
    references = [
        Reference(frame, task.truth.frames[frame], region.name)
        for frame in (variant.shown(task.scene.frames) if pictured else [])
        for region in task.regions
    ]
    return Edit(
        clip=clip,
        clip_hash=_content_hash(task),
        start=0,
        stop=task.scene.frames,
        prompt=task.prompt,
        source_prompt=task.source_prompt,
        method=method,
        backbone=backbone,
        seed=task.seed,
        regions=regions,
        references=tuple(references),
        params=dict(variant.params),
    )


def write_source(task: Task, folder: Path) -> Path:
    """The source clip of ``task`` as lossless video in ``folder``, named by its content."""
    path = folder / f"{task.name}-{_content_hash(task)[:12]}.mkv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_clip(path, iter(task.source.frames), fps=Fraction(12))
    return path


def _content_hash(task: Task) -> str:
    return hashlib.sha256(task.source.frames.tobytes()).hexdigest()
