"""Opens the command line's edit files (TOML or JSON) as projects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from mattebox_media import MediaError, open_clip
from mattebox_proto.codecs.frames import decode_image
from mattebox_proto.codecs.masks import decode_frames
from mattebox_proto.codecs.params import decode_params
from mattebox_proto.editfile.message import edit_message
from mattebox_proto.editfile.reading import load
from mattebox_proto.errors import InvalidEditFile, InvalidMessage
from mattebox_proto.mattebox.v1 import clips_pb2, edit_pb2

from mattebox_desktop.model import commands
from mattebox_desktop.model.errors import ModelError, ProjectFileError
from mattebox_desktop.model.mask_track import Mask
from mattebox_desktop.model.method_choice import AUTO, DEFAULT_METHOD
from mattebox_desktop.model.project import ClipRef, Project
from mattebox_desktop.model.reference import Picture
from mattebox_desktop.model.reference_commands import add_reference
from mattebox_desktop.model.region import MaskMode
from mattebox_desktop.service.edit_pictures import read_image, read_mask, reference_reader
from mattebox_desktop.service.pixels import eight_bit

EDIT_FILES = (".toml", ".json")
_MODES = {
    edit_pb2.MASK_MODE_ELLIPSE: MaskMode.ELLIPSE,
    edit_pb2.MASK_MODE_BOX: MaskMode.BOX,
    edit_pb2.MASK_MODE_DILATED: MaskMode.DILATED,
}


@dataclass(frozen=True, slots=True)
class OpenedEdit:
    """project: renders what the edit file renders, but for its condition pictures. pictures: how many of them
    it has.
    """

    project: Project
    pictures: int


def project_of_edit(path: Path) -> OpenedEdit:
    """Opens an edit file.

    Raises:
        ProjectFileError: the edit, its source or one of its masks cannot be read; the sentence says which.
    """
    try:
        edit = load(path)
        source = Path(edit.source)
        source = source if source.is_absolute() else path.parent / source
        with open_clip(source) as reader:
            info = reader.info
        clip = clips_pb2.Clip(width=info.width, height=info.height, frames=info.frame_count)
        message = edit_message(
            edit,
            clip,
            folder=path.parent,
            read_mask=read_mask,
            read_image=read_image,
            read_reference=reference_reader(source),
        )
        ref = ClipRef(info.path.absolute(), info.width, info.height, info.frame_count, Fraction(info.fps))
        names = [str((path.parent / reference.image).absolute()) for reference in edit.references]
        return OpenedEdit(_project(ref, message, names), len(message.condition_pictures))
    except (InvalidEditFile, InvalidMessage, MediaError, ModelError, OSError) as error:
        raise ProjectFileError(path, str(error)) from error


def _project(clip: ClipRef, edit: edit_pb2.Edit, names: Sequence[str]) -> Project:
    """names: the files of the references."""
    project = Project()
    with project.changes.transaction("Open edit", undoable=False):
        commands.set_clip(project, clip)
        commands.set_range(project, edit.start, edit.stop)
        project.prompt, project.source_prompt = edit.prompt, edit.source_prompt
        project.method = AUTO if edit.method == DEFAULT_METHOD else edit.method
        project.backbone, project.seed = edit.backbone, edit.seed
        project.params = decode_params(edit.params)
        for saved in sorted(edit.regions, key=lambda region: region.order):
            region = commands.add_region(project, saved.name, saved.prompt)
            region.mode = _MODES.get(saved.mode, MaskMode.TIGHT)
            region.dilation, region.feather = saved.dilation, saved.feather
            region.color, region.words = saved.color or region.color, tuple(saved.words)
            before: Mask | None = None
            for frame, mask in enumerate(decode_frames(saved.masks), edit.start):
                if before is None or not np.array_equal(mask, before):
                    region.masks.set_key(frame, mask.copy() if mask.any() else None)
                before = mask
            if edit.stop < clip.frame_count:
                region.masks.set_key(edit.stop, None)
        regions = {region.name: region for region in project.regions}
        for reference, name in zip(edit.references, names, strict=True):
            picture = Picture(eight_bit(decode_image(reference.image)), name)
            add_reference(project, reference.frame, regions[reference.region], picture)
    project.changes.mark_saved()
    return project
