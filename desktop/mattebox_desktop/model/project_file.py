"""The `.mattebox` file: a zip with `project.json` and one lossless PNG per painted mask and per reference.

Every file carries the version of its layout; older ones are upgraded step by step, newer ones are refused in
words. Fields and members that this version does not know are kept and written back. Nothing is ever pickled.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mattebox_proto.atomic_file import replacing
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from mattebox_desktop.model.errors import ModelError, ProjectFileError
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.project_reading import project_of
from mattebox_desktop.model.project_record import (
    MAIN,
    MASKS,
    REFERENCES,
    ClipRecord,
    KeyRecord,
    ProjectRecord,
    ReferenceRecord,
    RegionRecord,
    TakeRecord,
)
from mattebox_desktop.model.reference import Reference
from mattebox_desktop.model.region import Region

SUFFIX = ".mattebox"
VERSION = 2
"""2: references. A Mattebox that does not know them must not render as if there were none."""
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda document: {**document, "references": []},
}
"""From a version to the next: each takes the parsed `project.json` of that version and returns the next
one's.
"""

_LONGEST_MAIN = 64 << 20
_DAMAGE = (KeyError, ModelError, NotImplementedError, RuntimeError, SyntaxError, ValueError, zlib.error)
"""What zipfile, zlib, json and Pillow raise on bytes that were changed or cut."""


def project_path(path: Path) -> Path:
    """The path with a project's ending: as given, or with the ending put behind it."""
    return path if path.suffix.lower() == SUFFIX else path.with_name(path.name + SUFFIX)


def save_project(project: Project, path: Path) -> None:
    """Writes the project; the file that stood there stays whole until the new one is.

    Raises:
        ProjectFileError: the file cannot be written.
    """
    try:
        with (
            replacing(path) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            record = _record(project, path.parent.resolve())
            archive.writestr(MAIN, json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False))
            for region in project.regions:
                for frame, mask in region.masks.keys.items():
                    if mask is not None:
                        picture = region.masks.encoded(frame, png)
                        archive.writestr(_member(region, frame), picture, compress_type=zipfile.ZIP_STORED)
            for reference in project.references:
                picture = reference.picture.encoded(png)
                archive.writestr(_picture_member(reference), picture, compress_type=zipfile.ZIP_STORED)
            for name, data in project.extra_members.items():
                archive.writestr(name, data)
    except OSError as error:
        raise ProjectFileError(
            path,
            f"“{path}” could not be saved ({error.strerror or error}); "
            "choose another folder or free some space.",
        ) from error


def load_project(path: Path) -> Project:
    """Reads a project.

    Raises:
        ProjectFileError: it cannot be read, is no project, is damaged, or comes from a newer Mattebox.
    """
    with _opened(path) as archive:
        return project_of(_parse(path, archive), archive, path.parent.resolve())


def clip_of_project(path: Path) -> Path | None:
    """The clip that a project names, if any, without reading its masks; raises as `load_project` does."""
    with _opened(path) as archive:
        clip = _parse(path, archive).clip
    return None if clip is None else Path(clip.path)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError as error:
        raise ProjectFileError(path, f"“{path}” does not exist; check the name.") from error
    except zipfile.BadZipFile as error:
        raise ProjectFileError(
            path,
            f"“{path}” is not a Mattebox project, or it is damaged; choose another file or a backup of it.",
        ) from error
    except OSError as error:
        raise ProjectFileError(
            path,
            f"“{path}” could not be read ({error.strerror or error}); check the file and its permissions.",
        ) from error
    except _DAMAGE as error:
        if isinstance(error, ProjectFileError):
            raise
        raise ProjectFileError(
            path, f"“{path}” is damaged ({_first_line(error)}); open a backup of it."
        ) from error


def upgraded(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """The document in the present layout.

    Raises:
        ProjectFileError: it has no version, or one that this Mattebox does not know.
    """
    version = document.get("version")
    if document.get("format") != "mattebox" or not isinstance(version, int):
        raise ProjectFileError(
            path, f"“{path}” is not a Mattebox project; choose a file that Mattebox saved."
        )
    while version < VERSION:
        step = UPGRADES.get(version)
        if step is None:
            raise ProjectFileError(
                path, f"“{path}” has the layout {version}, which Mattebox never wrote; choose another file."
            )
        document = step(document)
        version += 1
    if version > VERSION:
        raise ProjectFileError(
            path,
            f"“{path}” was saved by a newer Mattebox (layout {version}; this one reads up to {VERSION}); "
            "update Mattebox to open it.",
        )
    return document


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A mask (H, W) or a picture (H, W, 3) as it lies in the file: quick to write, and lossless."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


# -- writing -------------------------------------------------------------------------------------------------


def _record(project: Project, folder: Path) -> ProjectRecord:
    clip = project.clip
    return ProjectRecord(
        format="mattebox",
        version=VERSION,
        clip=None
        if clip is None
        else ClipRecord(
            path=str(clip.path),
            relative=_relative(clip.path, folder),
            width=clip.width,
            height=clip.height,
            frame_count=clip.frame_count,
            frame_rate=f"{clip.frame_rate.numerator}/{clip.frame_rate.denominator}",
            content_hash=clip.content_hash,
            **clip.extra,
        ),
        in_point=project.in_point,
        out_point=project.out_point,
        prompt=project.prompt,
        source_prompt=project.source_prompt,
        method=project.method,
        backbone=project.backbone,
        seed=project.seed,
        params=dict(project.params),
        take_in_use=project.take_in_use,
        awaited_jobs=list(project.awaited_jobs),
        regions=[_region_record(region) for region in project.regions],
        references=[
            ReferenceRecord(
                id=reference.id,
                frame=reference.frame,
                region=reference.region.id,
                picture=_picture_member(reference),
                source=reference.picture.source,
                **reference.extra,
            )
            for reference in project.references
        ],
        takes=[
            TakeRecord(
                id=take.id,
                name=take.name,
                path=str(take.path),
                start=take.start,
                stop=take.stop,
                seed=take.seed,
                prompt=take.prompt,
                made=take.made,
                report=dict(take.report),
                **take.extra,
            )
            for take in project.takes
        ],
        **project.extra,
    )


def _region_record(region: Region) -> RegionRecord:
    return RegionRecord(
        id=region.id,
        name=region.name,
        prompt=region.prompt,
        color=region.color,
        letter=region.letter,
        visible=region.visible,
        mode=region.mode,
        dilation=region.dilation,
        feather=region.feather,
        words=list(region.words),
        keys=[
            KeyRecord(frame=frame, mask=None if mask is None else _member(region, frame))
            for frame, mask in region.masks.keys.items()
        ],
        **region.extra,
    )


def _member(region: Region, frame: int) -> str:
    return f"{MASKS}{region.id}/{frame:06d}.png"


def _picture_member(reference: Reference) -> str:
    return f"{REFERENCES}{reference.id}.png"


def _relative(path: Path, folder: Path) -> str | None:
    try:
        return os.path.relpath(path, folder)
    except ValueError:  # another drive on Windows
        return None


# -- reading -------------------------------------------------------------------------------------------------


def _parse(path: Path, archive: zipfile.ZipFile) -> ProjectRecord:
    try:
        if archive.getinfo(MAIN).file_size > _LONGEST_MAIN:
            raise ValueError(f"{MAIN} is larger than {_LONGEST_MAIN >> 20} MB")
        document = json.loads(archive.read(MAIN))
    except KeyError as error:
        raise ProjectFileError(
            path, f"“{path}” is a zip file but not a Mattebox project; choose a file that Mattebox saved."
        ) from error
    if not isinstance(document, dict):
        raise ProjectFileError(
            path, f"“{path}” is not a Mattebox project; choose a file that Mattebox saved."
        )
    document = upgraded(document, path)
    try:
        return ProjectRecord.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProjectFileError(
            path, f"“{path}” is damaged: {where} — {first['msg'].lower()}; open a backup of it."
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error.args[0]) if error.args else type(error).__name__
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
