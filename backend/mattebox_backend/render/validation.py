"""Checks of an edit that need neither weights nor frames, so that a mistake is named before anything is
queued.
"""

from __future__ import annotations

from collections.abc import Sequence

from mattebox_media.clip import ClipInfo

from mattebox_backend.edit import Edit, Region
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.methods import find_method
from mattebox_backend.methods.custom_parameters import parse_controls


def validate(edit: Edit, info: ClipInfo) -> None:
    """Raise `InvalidEdit` (`UnknownMethod` for the method) when the edit cannot be made of a clip like
    `info`.
    """
    method = find_method(edit.method)
    params = method.parse(edit.params)
    if method.takes_controls:
        parse_controls(edit.controls, params)
    elif edit.controls:
        raise InvalidEdit(
            f"The method {edit.method} has its controls already; take the [[control]] tables out of the "
            "edit, or set method to custom."
        )
    _check_range(edit, info)
    if not edit.regions:
        raise InvalidEdit("The edit has no region; say with at least one mask where it should change.")
    _check_names(edit.regions)
    for region in edit.regions:
        _check_region(region, edit, info, needs_prompt=not method.description.takes_references)
    _check_references(edit, info, takes=method.description.takes_references)
    _check_condition(edit, info, getattr(params, "condition", None))


def _check_range(edit: Edit, info: ClipInfo) -> None:
    held = f"{info.path.name} has frames 0 to {info.frame_count - 1}"
    if edit.stop <= edit.start:
        raise InvalidEdit(
            f"The range {edit.start} to {edit.stop} holds no frame; its end is not included, and {held}."
        )
    if edit.start < 0 or edit.stop > info.frame_count:
        raise InvalidEdit(
            f"The range {edit.start} to {edit.stop} reaches beyond the clip: {held}. "
            f"Choose a range within 0 to {info.frame_count}."
        )


def _check_names(regions: Sequence[Region]) -> None:
    seen: set[str] = set()
    for region in regions:
        if region.name in seen:
            raise InvalidEdit(f"Two regions are called {region.name!r}; give every region its own name.")
        seen.add(region.name)


def _check_region(region: Region, edit: Edit, info: ClipInfo, *, needs_prompt: bool) -> None:
    name = f"The region {region.name!r}"
    if needs_prompt and not region.prompt.strip():
        raise InvalidEdit(f"{name} has no prompt; say what should be there.")
    frames, height, width = region.masks.shape
    if frames != edit.frame_count:
        raise InvalidEdit(
            f"{name} has masks for {frames} frames and the range {edit.start} to {edit.stop} has "
            f"{edit.frame_count}; give one mask per frame."
        )
    if (width, height) != (info.width, info.height):
        raise InvalidEdit(
            f"{name} has masks of {width}×{height} and the clip is {info.width}×{info.height}; "
            "give masks of the clip's size."
        )
    for what, pixels in (("dilation", region.dilation), ("feather", region.feather)):
        if not 0 <= pixels <= max(width, height):
            raise InvalidEdit(
                f"{name} has a {what} of {pixels} pixels; give 0 to {max(width, height)}, the clip's side."
            )
    if not region.masks.any():
        raise InvalidEdit(f"{name} is empty in every frame of the range; paint it or remove the region.")


def _check_references(edit: Edit, info: ClipInfo, *, takes: bool) -> None:
    names = [region.name for region in edit.regions]
    for reference in edit.references:
        what = f"The reference at frame {reference.frame}"
        if reference.region not in names:
            raise InvalidEdit(
                f"{what} is for {reference.region!r}, which is no region of the edit ({names})."
            )
        if not edit.start <= reference.frame < edit.stop:
            raise InvalidEdit(f"{what} lies outside the range {edit.start} to {edit.stop}.")
        height, width = reference.image.shape[:2]
        if (width, height) != (info.width, info.height):
            raise InvalidEdit(
                f"{what} is {width}×{height} and the clip is {info.width}×{info.height}; "
                "give a picture of the clip's size."
            )
    if edit.references and not takes:
        raise InvalidEdit(
            f"The method {edit.method} works from prompts alone; take the references out of the edit, or set "
            "method to mask-lora."
        )
    if takes:
        _check_first_frame(edit)


def _check_first_frame(edit: Edit) -> None:
    """Every region that changes has to be seen in the first frame: that is what is carried on."""
    if not edit.references:
        raise InvalidEdit(
            f"The method {edit.method} works from edited pictures and the edit has none; give a "
            f"[[reference]] of frame {edit.start}, the first of the range."
        )
    shown = {reference.region for reference in edit.references if reference.frame == edit.start}
    for reference in edit.references:
        if reference.region not in shown:
            raise InvalidEdit(
                f"The region {reference.region!r} has a reference at frame {reference.frame} and none at "
                f"frame {edit.start}, the first of the range, from which the edit is carried on; give one."
            )


def _check_condition(edit: Edit, info: ClipInfo, asked: str | None) -> None:
    """asked: the parameter `condition`; None: the method has none."""
    pictures = edit.condition_pictures
    if pictures is None:
        if asked == "pictures":
            raise InvalidEdit(
                "The parameter 'condition' is 'pictures' and the edit has none; give condition_pictures, one "
                "for each frame, or choose 'edges'."
            )
        return
    if asked is None:
        raise InvalidEdit(
            f"The method {edit.method} makes no use of condition pictures; take them out of the edit."
        )
    if asked != "pictures":
        raise InvalidEdit(
            f"The edit has condition pictures and the parameter 'condition' is {asked!r}; set it to "
            "'pictures', or take them out."
        )
    frames, height, width = pictures.shape[:3]
    if frames != edit.frame_count:
        raise InvalidEdit(
            f"There are condition pictures for {frames} frames and the range {edit.start} to {edit.stop} has "
            f"{edit.frame_count}; give one per frame."
        )
    if (width, height) != (info.width, info.height):
        raise InvalidEdit(
            f"The condition pictures are {width}×{height} and the clip is {info.width}×{info.height}; give "
            "pictures of the clip's size."
        )
