"""The files in which pictures lie while they are edited elsewhere."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from mattebox_media import plain_name
from mattebox_proto.atomic_file import replacing
from mattebox_proto.paths import folders, private_folder

from mattebox_desktop.model.project import Project
from mattebox_desktop.model.project_file import png
from mattebox_desktop.model.reference import Picture, Reference

_KEPT_SECONDS = 30 * 86_400
"""How long a picture stays after it was last saved: it may be edited on while Mattebox is closed."""
_UNFIT = re.compile(r"[^\w.-]+")


def work_file(project: Project, reference: Reference) -> Path:
    """Where that reference's picture lies for an editor, in a folder of its own; the name tells a person what
    it is.
    """
    clip = "clip" if project.clip is None else plain_name(project.clip.path)
    name = _UNFIT.sub("-", f"{clip}-{reference.region.name}").strip("-.")[:80]
    return _root() / reference.id / f"{name}-frame-{reference.frame:04d}.png"


def write_work_file(path: Path, picture: Picture, in_use: Collection[str]) -> None:
    """Writes the picture, and takes away those that nobody has saved for long.

    What stands there is set aside where it differs: it may have been saved while Mattebox was closed.
    in_use: ids of references whose files stay.

    Raises OSError.
    """
    _prune({*in_use, path.parent.name})
    private_folder(_root())
    private_folder(path.parent)
    data = picture.encoded(png)
    if path.exists() and path.read_bytes() != data:
        path.replace(path.with_name(f"{path.stem}-before-{time.time_ns()}{path.suffix}"))
    with replacing(path) as file:
        file.write(data)


def _prune(in_use: Collection[str]) -> None:
    root, oldest = _root(), time.time() - _KEPT_SECONDS
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name in in_use or not folder.is_dir():
            continue
        times = [file.stat().st_mtime for file in (folder, *folder.iterdir())]
        if max(times) < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def _root() -> Path:
    return folders().data / "references"
