"""What `project.json` says, and the pictures beside it → the project."""

from __future__ import annotations

import io
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from mattebox_media import files_at
from numpy.typing import NDArray
from PIL import Image

from mattebox_desktop.model.history import History
from mattebox_desktop.model.mask_track import Mask
from mattebox_desktop.model.project import ClipRef, Project, Take
from mattebox_desktop.model.project_record import (
    MAIN,
    MASKS,
    ClipRecord,
    ProjectRecord,
    ReferenceRecord,
    RegionRecord,
    unknown,
)
from mattebox_desktop.model.reference import Picture, Reference
from mattebox_desktop.model.region import Region


def project_of(record: ProjectRecord, archive: zipfile.ZipFile, folder: Path) -> Project:
    """archive: holds the pictures. folder: the project file's own.

    Raises ModelError, KeyError, ValueError and what Pillow and zlib raise where the file was changed or cut.
    """
    project = Project(History())
    used = {MAIN}
    with project.changes.transaction("Open project", undoable=False):
        if record.clip is not None:
            project.clip = _clip(record.clip, folder)
        project.in_point, project.out_point = record.in_point, record.out_point
        project.prompt, project.source_prompt = record.prompt, record.source_prompt
        project.method, project.backbone = record.method, record.backbone
        project.seed, project.params = record.seed, record.params
        for saved in record.regions:
            if project.clip is None:
                raise ValueError("it has regions but no clip")
            project.regions.append(_region(project, project.clip, saved, archive, used))
        for kept in record.references:
            project.references.append(_reference(project, kept, archive, used))
        for take in record.takes:
            project.takes.append(
                Take(
                    id=take.id,
                    name=take.name,
                    path=Path(take.path),
                    start=take.start,
                    stop=take.stop,
                    seed=take.seed,
                    prompt=take.prompt,
                    made=take.made,
                    report=take.report,
                    extra=unknown(take),
                )
            )
        project.take_in_use = record.take_in_use
        project.awaited_jobs = tuple(record.awaited_jobs)
    project.extra = unknown(record)
    project.extra_members = {
        name: archive.read(name)
        for name in archive.namelist()
        if name not in used and not name.endswith("/") and not name.startswith(MASKS)
    }
    project.changes.mark_saved()
    return project


def _clip(record: ClipRecord, folder: Path) -> ClipRef:
    beside = None if record.relative is None else (folder / record.relative)
    # A project that was moved together with its clip finds it again.
    path = beside.resolve() if beside is not None and files_at(beside) else Path(record.path)
    return ClipRef(
        path,
        record.width,
        record.height,
        record.frame_count,
        Fraction(record.frame_rate),
        record.content_hash,
        extra=unknown(record),
    )


def _region(
    project: Project, clip: ClipRef, record: RegionRecord, archive: zipfile.ZipFile, used: set[str]
) -> Region:
    region = Region(project.changes, clip.shape, clip.frame_count, id_=record.id)
    region.name, region.prompt = record.name, record.prompt
    region.color, region.letter, region.visible = record.color, record.letter, record.visible
    region.mode, region.dilation, region.feather = record.mode, record.dilation, record.feather
    region.words = tuple(record.words)
    region.extra = unknown(record)
    for key in record.keys:
        region.masks.set_key(key.frame, None if key.mask is None else _mask(archive, key.mask, clip.shape))
        if key.mask is not None:
            used.add(key.mask)
    return region


def _reference(
    project: Project, record: ReferenceRecord, archive: zipfile.ZipFile, used: set[str]
) -> Reference:
    region = next((region for region in project.regions if region.id == record.region), None)
    clip = project.clip
    if region is None or clip is None:
        raise ValueError(f"the reference {record.id} is for a region that is not there")
    if record.frame >= clip.frame_count:
        raise ValueError(f"the reference {record.id} stands at frame {record.frame}, outside the clip")
    pixels = _pixels(archive, record.picture, "RGB", clip.shape)
    used.add(record.picture)
    picture = Picture(pixels, record.source)
    made = Reference(project.changes, record.frame, region, picture, id_=record.id)
    made.extra = unknown(record)
    return made


def _mask(archive: zipfile.ZipFile, member: str, shape: tuple[int, int]) -> Mask:
    return _pixels(archive, member, "L", shape)


def _pixels(archive: zipfile.ZipFile, member: str, mode: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """mode: "L" or "RGB", 8 bit each."""
    with archive.open(member) as file, Image.open(io.BytesIO(file.read()), formats=("PNG",)) as image:
        if image.mode != mode:
            raise ValueError(f"{member} is not an 8-bit {'grey' if mode == 'L' else 'colour'} picture")
        if image.size != (shape[1], shape[0]):  # before its pixels are unpacked
            raise ValueError(
                f"{member} is {image.width}×{image.height} pixels but the clip is {shape[1]}×{shape[0]}"
            )
        return np.array(image, np.uint8)
