"""Edits that cannot be made are named before anything is queued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_backend.edit import Edit, MaskMode, Reference, Region
from mattebox_backend.errors import InvalidEdit, UnknownMethod
from mattebox_backend.render import validate
from mattebox_media import ClipInfo

INFO = ClipInfo(
    path=Path("clip.mkv"),
    kind="video",
    width=8,
    height=6,
    frame_count=10,
    fps=Fraction(24),
    bit_depth=8,
    has_alpha=False,
    has_audio=False,
    rotation=0,
    codec="ffv1",
    pixel_format="gbrp",
)


def edit() -> Edit:
    region = Region("man", "a robot", np.full((3, 6, 8), 255, np.uint8), MaskMode.TIGHT)
    return Edit(
        Path("clip.mkv"), "", 2, 5, "a robot", "a man", "st-modulator", "pocket-sd", 0, (region,), (), {}
    )


def with_region(**changes: Any) -> Edit:
    return replace(edit(), regions=(replace(edit().regions[0], **changes),))


def test_a_sound_edit_passes() -> None:
    validate(edit(), INFO)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(edit(), start=5), "The range 5 to 5 holds no frame"),
        (lambda: replace(edit(), start=9, stop=12), "reaches beyond the clip: clip.mkv has frames 0 to 9"),
        (lambda: replace(edit(), start=-1, stop=2), "reaches beyond the clip"),
        (lambda: replace(edit(), regions=()), "no region"),
        (lambda: replace(edit(), regions=edit().regions * 2), "Two regions are called 'man'"),
        (lambda: with_region(prompt="  "), "'man' has no prompt"),
        (
            lambda: with_region(masks=np.ones((2, 6, 8), np.uint8)),
            "masks for 2 frames and the range 2 to 5 has 3",
        ),
        (lambda: with_region(masks=np.ones((3, 8, 6), np.uint8)), "masks of 6×8 and the clip is 8×6"),
        (lambda: with_region(masks=np.zeros((3, 6, 8), np.uint8)), "'man' is empty in every frame"),
        (lambda: with_region(feather=-1), "feather of -1 pixels"),
        (lambda: with_region(dilation=900), "dilation of 900 pixels; give 0 to 8"),
        (lambda: replace(edit(), params={"stepz": 3}), "did you mean 'steps'"),
        (lambda: replace(edit(), references=(reference(region="dog"),)), "is for 'dog', which is no region"),
        (lambda: replace(edit(), references=(reference(frame=7),)), "frame 7 lies outside the range 2 to 5"),
        (lambda: replace(edit(), references=(reference(size=(8, 6)),)), "is 6×8 and the clip is 8×6"),
    ],
)
def test_what_is_wrong_is_named(make: Callable[[], Edit], words: str) -> None:
    with pytest.raises(InvalidEdit) as caught:
        validate(make(), INFO)
    assert words in str(caught.value)


def reference(frame: int = 3, region: str = "man", size: tuple[int, int] = (6, 8)) -> Reference:
    return Reference(frame, np.zeros((*size, 3), np.uint8), region)


def test_an_unknown_method_is_told_apart() -> None:
    with pytest.raises(UnknownMethod):
        validate(replace(edit(), method="mask-aware"), INFO)


def test_references_are_for_the_method_that_works_from_them() -> None:
    carried = replace(edit(), method="mask-lora", params={})
    first = reference(carried.start)
    validate(replace(carried, references=(first, reference(carried.stop - 1))), INFO)
    for references, words in (
        ((), f"of frame {carried.start}, the first of the range"),
        ((reference(carried.start + 1),), f"none at frame {carried.start}, the first of the range"),
        ((first, reference(carried.stop)), "lies outside the range"),
        ((first, reference(size=(6, 9))), "is 9×6 and the clip is 8×6"),
        ((reference(carried.start, "woman"),), "is no region of the edit"),
    ):
        with pytest.raises(InvalidEdit, match=words):
            validate(replace(carried, references=references), INFO)
    with pytest.raises(InvalidEdit, match="set method to mask-lora"):
        validate(replace(edit(), references=(first,)), INFO)


def test_a_region_that_is_there_in_one_frame_only_is_legal() -> None:
    masks = np.zeros((3, 6, 8), np.uint8)
    masks[2, 1, 1] = 255
    validate(with_region(masks=masks), INFO)


def with_pictures(shape: tuple[int, ...], condition: str = "pictures") -> Edit:
    return replace(edit(), condition_pictures=np.zeros(shape, np.uint8), params={"condition": condition})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            lambda: replace(edit(), params={"condition": "pictures"}),
            "the edit has none; give condition_pictures",
        ),
        (lambda: with_pictures((3, 6, 8, 3), "edges"), "the parameter 'condition' is 'edges'; set it"),
        (lambda: with_pictures((2, 6, 8, 3)), "for 2 frames and the range 2 to 5 has 3"),
        (lambda: with_pictures((3, 8, 6, 3)), "are 6×8 and the clip is 8×6"),
        (lambda: with_pictures((3, 6, 8)), "give uint8 of shape"),
    ],
)
def test_condition_pictures_that_do_not_fit_are_refused(wrong: Callable[[], Edit], words: str) -> None:
    with pytest.raises(InvalidEdit, match=words):
        validate(wrong(), INFO)
    validate(with_pictures((3, 6, 8, 3)), INFO)


def test_condition_pictures_are_part_of_what_an_edit_is() -> None:
    plain, given = edit(), with_pictures((3, 6, 8, 3))
    pictures = np.zeros((3, 6, 8, 3), np.uint8)
    pictures[0, 0, 0, 0] = 1
    other = replace(given, condition_pictures=pictures)
    none = replace(given, condition_pictures=None)
    assert len({e.content_hash() for e in (plain, given, other, none)}) == 4
