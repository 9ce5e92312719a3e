"""Pairs of a scene and its edit, with the regions that the edit is about: what `pocket-roi` learns from and
is measured on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.edit import MaskMode
from mattebox_backend.masks import shape_mask
from mattebox_backend.world.captions import CaptionForm, background_phrase, caption, object_phrase
from mattebox_backend.world.edits import (
    ChangeBackground,
    Recolour,
    Remove,
    RemovePart,
    Reshape,
    Restyle,
    SceneEdit,
    SetPart,
)
from mattebox_backend.world.render import render
from mattebox_backend.world.sampling import SceneOptions, sample_scene
from mattebox_backend.world.scene import Scene
from mattebox_backend.world.vocabulary import BackgroundColour, Colour, PartKind, Pattern, Shape

FRAMES = 2
"""Frames of a sample that follow one another."""
REGIONS = 3
"""The most regions of an edit."""
MASK_MODES = (MaskMode.TIGHT, MaskMode.DILATED, MaskMode.BOX)
SILHOUETTE_MARGIN = 3
"""Pixels by which a region outgrows both silhouettes where the edit changes one."""

OPTIONS = SceneOptions(counts=(0.0, 0.42, 0.4, 0.18), blooms=0)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """source, edited: (2, H, W, 3) uint8, before and after. masks: per region, per mode of `MASK_MODES`, (2,
    H, W) uint8. phrases: per region what it should show. caption: of the edited scene. scene: as edited.
    """

    source: NDArray[np.uint8]
    edited: NDArray[np.uint8]
    masks: tuple[tuple[NDArray[np.uint8], ...], ...]
    phrases: tuple[str, ...]
    caption: str
    scene: Scene


def sample_pair(seed: int, size: int) -> Pair:
    """The pair of a seed, at `size` × `size` pixels."""
    rng = np.random.default_rng((seed, 7))
    scene = replace(sample_scene(seed, OPTIONS, width=size, height=size), frames=FRAMES)
    edits, groups = _choose(scene, rng)
    edited = scene.edit(*edits)
    before, after = render(scene), render(edited)
    removed = {edit.index for edit in edits if isinstance(edit, Remove)}
    reshaped = {edit.index for edit in edits if isinstance(edit, Remove | Reshape | SetPart | RemovePart)}
    dilation = int(rng.integers(2, 9))
    masks, phrases = [], []
    for group in groups:
        drawn = before.masks[list(group)].max(0) if group else 255 - before.masks.max(0)
        if group and reshaped.intersection(group):
            survivors = [n - sum(r < n for r in removed) for n in group if n not in removed]
            both = np.max([drawn, *(after.masks[n] for n in survivors)], axis=0)
            window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * SILHOUETTE_MARGIN + 1,) * 2)
            drawn = np.stack([cv2.dilate(mask, window) for mask in both])
        masks.append(
            tuple(np.stack([shape_mask(mask, mode, dilation) for mask in drawn]) for mode in MASK_MODES)
        )
        shown = [n - sum(r < n for r in removed) for n in group if n not in removed]
        phrases.append(
            object_phrase(edited.objects[shown[0]]) if shown else background_phrase(edited.background)
        )
    forms = (CaptionForm.FULL, CaptionForm.FULL, CaptionForm.OBJECTS)
    form = CaptionForm.FULL if () in groups or removed else forms[int(rng.integers(3))]
    order = rng.permutation(len(edited.objects)).tolist()
    text = caption(edited, 0, form, order=order)
    return Pair(before.frames, after.frames, tuple(masks), tuple(phrases), text, edited)


def _choose(scene: Scene, rng: np.random.Generator) -> tuple[tuple[SceneEdit, ...], list[tuple[int, ...]]]:
    """Edits of a scene, and the objects of each region; an empty group is the background."""
    count = len(scene.objects)
    index = int(rng.integers(count))
    kind = rng.choice(
        ("one", "all", "shape", "part", "remove", "background", "pattern"),
        p=(0.27, 0.25, 0.17, 0.1, 0.09, 0.08, 0.04),
    )
    item = scene.objects[index]
    match kind:
        case "one":
            return (Recolour(index, _colour(rng, [item.colour])),), [(index,)]
        case "all":
            return (
                tuple(Recolour(n, _colour(rng, [o.colour])) for n, o in enumerate(scene.objects)),
                [(n,) for n in range(count)],
            )
        case "shape":
            shapes = [shape for shape in Shape if shape is not item.shape]
            reshape = Reshape(index, shapes[int(rng.integers(len(shapes)))])
            return (reshape, Recolour(index, _colour(rng, [item.colour]))), [(index,)]
        case "part" if item.part is not None and rng.random() < 0.3:
            return (RemovePart(index),), [(index,)]
        case "part":
            kind_of_part = list(PartKind)[int(rng.integers(2))]
            return (SetPart(index, kind_of_part, _colour(rng, [item.colour])),), [(index,)]
        case "remove":
            return (Remove(index),), [(index,)]
        case "background":
            colours = [colour for colour in BackgroundColour if colour is not scene.background.colour]
            return (ChangeBackground(colours[int(rng.integers(len(colours)))]),), [()]
        case _:
            patterns = [pattern for pattern in Pattern if pattern is not scene.background.pattern]
            return (Restyle(patterns[int(rng.integers(len(patterns)))]),), [()]


def _colour(rng: np.random.Generator, taken: Sequence[Colour]) -> Colour:
    free = [colour for colour in Colour if colour not in taken]
    return free[int(rng.integers(len(free)))]
