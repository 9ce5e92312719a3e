"""An edit file and an opened clip → the Edit message that is submitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mattebox_proto.codecs.frames import Frame, encode_image
from mattebox_proto.codecs.masks import encode_track
from mattebox_proto.codecs.params import encode_params
from mattebox_proto.editfile.shapes import at, box_mask, ellipse_mask
from mattebox_proto.editfile.spec import EditFile, Fit, ReferenceSpec, RegionSpec
from mattebox_proto.errors import InvalidEditFile
from mattebox_proto.limits import MAX_PICTURE_BYTES
from mattebox_proto.mattebox.v1 import clips_pb2, edit_pb2, media_pb2

ReadReference = Callable[[Path, int, Fit | None], Frame]
"""From a picture's path, its frame of the source and its fit: (H, W, 3) uint8."""

MODES: dict[str, edit_pb2.MaskMode.ValueType] = {
    "tight": edit_pb2.MASK_MODE_TIGHT,
    "ellipse": edit_pb2.MASK_MODE_ELLIPSE,
    "box": edit_pb2.MASK_MODE_BOX,
    "dilated": edit_pb2.MASK_MODE_DILATED,
}


def edit_message(
    edit: EditFile,
    clip: clips_pb2.Clip,
    *,
    folder: Path,
    read_mask: Callable[[Path], NDArray[np.uint8]],
    read_image: Callable[[Path], Frame],
    read_reference: ReadReference,
    progress: Callable[[int, int], None] | None = None,
) -> edit_pb2.Edit:
    """folder: the edit file's own; paths in it are relative to that.

    read_mask gives (H, W) uint8, read_image a condition picture (H, W, 3) uint8. progress: called with (masks
    made, in all).
    Raises InvalidEditFile: a range outside the clip, a picture missing or of another size, an empty region,
    a reference outside the range, more pictures than one message carries.
    """
    start, stop = edit.range if edit.range is not None else (0, clip.frames)
    if stop > clip.frames:
        raise InvalidEditFile(
            f"range = [{start}, {stop}] goes beyond the clip: {edit.source} has {clip.frames} frames."
        )
    _check_weight(edit, clip, start, stop)
    count = (stop - start) * len(edit.regions)
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, count)

    regions = []
    for region in edit.regions:
        masks = _masks(region, clip, start, stop, folder, read_mask, one_more)
        regions.append(_region(region, masks))
    return edit_pb2.Edit(
        clip=clip.id,
        start=start,
        stop=stop,
        prompt=edit.prompt,
        source_prompt=edit.source_prompt,
        method=edit.method,
        backbone=_backbone(edit.backbone, folder),
        seed=edit.seed,
        regions=regions,
        references=[
            _reference(reference, clip, start, stop, folder, read_reference) for reference in edit.references
        ],
        params=encode_params(edit.params),
        inspect=edit.inspect,
        controls=[
            edit_pb2.Control(name=control.name, params=encode_params(control.params))
            for control in edit.controls
        ],
        condition_pictures=_condition_pictures(edit, clip, start, stop, folder, read_image),
    )


def _region(region: RegionSpec, masks: Iterator[NDArray[np.uint8]]) -> edit_pb2.Region:
    marked = False

    def watched() -> Iterator[NDArray[np.uint8]]:
        nonlocal marked
        for mask in masks:
            marked = marked or bool(mask.any())
            yield mask

    track = encode_track(watched())
    if not marked:
        raise InvalidEditFile(
            f"Region {region.name!r} is empty: it marks no pixel in any frame of the range; "
            "check its mask, box or ellipse."
        )
    return edit_pb2.Region(
        name=region.name,
        prompt=region.prompt,
        masks=track,
        mode=MODES[region.mode],
        dilation=region.dilation,
        feather=region.feather,
        order=region.order,
        words=region.words,
        color=region.color,
    )


def _masks(
    region: RegionSpec,
    clip: clips_pb2.Clip,
    start: int,
    stop: int,
    folder: Path,
    read_mask: Callable[[Path], NDArray[np.uint8]],
    one_more: Callable[[], None],
) -> Iterator[NDArray[np.uint8]]:
    """Yields the region's mask of each frame, one at a time."""
    read: tuple[Path, NDArray[np.uint8]] | None = None
    for frame in range(start, stop):
        if region.box is not None:
            mask = box_mask(at(region.box, frame), clip.height, clip.width)
        elif region.ellipse is not None:
            mask = ellipse_mask(at(region.ellipse, frame), clip.height, clip.width)
        else:
            pattern = region.mask or ""
            path = folder / (pattern % frame if "%" in pattern else pattern)
            if read is None or read[0] != path:
                read = path, _read_mask(region, path, frame, clip, read_mask)
            mask = read[1]
        yield mask
        one_more()


def _read_mask(
    region: RegionSpec,
    path: Path,
    frame: int,
    clip: clips_pb2.Clip,
    read_mask: Callable[[Path], NDArray[np.uint8]],
) -> NDArray[np.uint8]:
    if not path.is_file():
        raise InvalidEditFile(f"Region {region.name!r}: the mask of frame {frame} is missing: {path}.")
    mask = read_mask(path)
    if mask.shape != (clip.height, clip.width):
        raise InvalidEditFile(
            f"Region {region.name!r}: the mask {path} is {mask.shape[1]}x{mask.shape[0]}, "
            f"the clip is {clip.width}x{clip.height}; masks have the clip's size."
        )
    return mask


def _reference(
    reference: ReferenceSpec,
    clip: clips_pb2.Clip,
    start: int,
    stop: int,
    folder: Path,
    read_reference: ReadReference,
) -> edit_pb2.Reference:
    if not start <= reference.frame < stop:
        raise InvalidEditFile(
            f"The reference of frame {reference.frame} lies outside the range [{start}, {stop}]; "
            "choose another range or another frame."
        )
    path = folder / reference.image
    if not path.is_file():
        raise InvalidEditFile(f"The reference picture of frame {reference.frame} is missing: {path}.")
    image = read_reference(path, reference.frame, reference.fit)
    if image.shape[:2] != (clip.height, clip.width):
        raise InvalidEditFile(
            f"The reference picture {path} is {image.shape[1]}x{image.shape[0]}, "
            f"the clip is {clip.width}x{clip.height}; give one of the clip's size, or say how to make it so: "
            'fit = "cover" scales and crops it, fit = "contain" keeps the source\'s frame around it.'
        )
    return edit_pb2.Reference(frame=reference.frame, image=encode_image(image), region=reference.region)


def _check_weight(edit: EditFile, clip: clips_pb2.Clip, start: int, stop: int) -> None:
    """Before any picture is read."""
    conditions = 0 if edit.condition_pictures is None else stop - start
    needed = (conditions + len(edit.references)) * clip.width * clip.height * 3
    if needed <= MAX_PICTURE_BYTES:
        return
    limit = f"{needed >> 20} MiB, and an edit carries {MAX_PICTURE_BYTES >> 20}"
    if conditions:
        raise InvalidEditFile(
            f"The condition pictures of {conditions} frames of {clip.width}x{clip.height} take {limit}; "
            "choose a shorter range."
        )
    raise InvalidEditFile(
        f"The {len(edit.references)} references of {clip.width}x{clip.height} take {limit}; take some out."
    )


def _condition_pictures(
    edit: EditFile,
    clip: clips_pb2.Clip,
    start: int,
    stop: int,
    folder: Path,
    read_image: Callable[[Path], Frame],
) -> list[media_pb2.Image]:
    """One per frame of the range; none where the file names none."""
    pattern = edit.condition_pictures
    if pattern is None:
        return []
    pictures: list[media_pb2.Image] = []
    before: Path | None = None
    for frame in range(start, stop):
        path = folder / (pattern % frame if "%" in pattern else pattern)
        if path == before:
            pictures.append(pictures[-1])
            continue
        if not path.is_file():
            raise InvalidEditFile(f"The condition picture of frame {frame} is missing: {path}.")
        image = read_image(path)
        if image.shape[:2] != (clip.height, clip.width):
            raise InvalidEditFile(
                f"The condition picture {path} is {image.shape[1]}x{image.shape[0]}, "
                f"the clip is {clip.width}x{clip.height}; condition pictures have the clip's size."
            )
        pictures.append(encode_image(image))
        before = path
    return pictures


def _backbone(backbone: str, folder: Path) -> str:
    """A model folder is meant relative to the file; an id stays what it is."""
    path = folder / backbone
    return str(path.resolve()) if path.is_dir() else backbone
