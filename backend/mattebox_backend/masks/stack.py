"""Regions stacked over one another: who is on top, who is a part of whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from mattebox_backend.edit import MaskMode, Region
from mattebox_backend.masks.algebra import Mask, hard, subtract, union
from mattebox_backend.masks.feather import matte
from mattebox_backend.masks.modes import shape_mask
from mattebox_backend.masks.pyramid import area_coverage, resize_masks, token_owners

BACKGROUND = 0
"""The owner label of what no region holds; region k of a stack has the label k + 1."""

_NESTED_SHARE = 0.9
"""A region is a part of another when this share of it lies inside the other."""


@dataclass(frozen=True, slots=True, eq=False)
class RegionStack:
    """The regions of an edit, bottom-most first, with masks in their final shape.

    masks: per region (F, H, W) uint8, mode applied, at source size (or as `crop_regions` made them). visible:
    the same without what lies above. parents: per region the indices of the regions that it is a part of.
    """

    regions: tuple[Region, ...]
    masks: tuple[Mask, ...]
    visible: tuple[Mask, ...]
    parents: tuple[tuple[int, ...], ...]

    def coverage(self, height: int, width: int) -> NDArray[np.float32]:
        """The share of every cell that any region covers: (F, height, width) float32 in [0, 1]."""
        frames = zip(*self.masks, strict=True)
        return np.concatenate([area_coverage(union(*masks)[None], height, width) for masks in frames])

    def shares(self, height: int, width: int) -> NDArray[np.float32]:
        """The share of every cell in which each region shows, what lies above it taken off: (K, F, height,
        width) float32 in [0, 1], bottom-most region first.
        """
        return np.stack([area_coverage(mask, height, width) for mask in self.visible])

    def owners(self, height: int, width: int, share: float = 0.5) -> NDArray[np.int64]:
        """The owner of every token: (F, height, width) int64, `BACKGROUND` or region index + 1.

        share: of a token from which the background leaves it to a region, in (0, ½]; see `token_owners`.
        """
        coverage = np.stack([area_coverage(mask, height, width) for mask in self.masks])
        return token_owners(coverage, self.shares(height, width), share)

    def union(self, frame: int) -> NDArray[np.float32]:
        """What any region covers of a frame: (H, W) float32 in [0, 1]."""
        covered = union(*(masks[frame] for masks in self.masks))
        return np.asarray(covered, np.float32) / np.float32(255)

    def matte(self, frame: int) -> NDArray[np.float32]:
        """How much of the edit each pixel of a frame shows, every region's feather included: (H, W) in [0,
        1].
        """
        mattes = [self.matte_of(region, frame) for region in range(len(self.regions))]
        return np.asarray(np.maximum.reduce(mattes), np.float32)

    def matte_of(self, region: int, frame: int) -> NDArray[np.float32]:
        """The matte of one region, by its index."""
        return matte(self.masks[region][frame], self.regions[region].feather)


def stack_regions(
    regions: Sequence[Region], progress: Callable[[int, int], None] = lambda done, of: None
) -> RegionStack:
    """Order regions by `order` (of equals the later is on top), shape their masks, and find parts of others.

    regions: at least one, all with masks of one shape (F, H, W). progress(done, of): told after each frame of
    each region whose mask is reshaped; may raise to stop.
    """
    ordered = tuple(sorted(regions, key=lambda region: region.order))
    total = sum(len(region.masks) for region in ordered if region.mode is not MaskMode.TIGHT)
    done = count(1)
    masks = tuple(_shaped(region, lambda: progress(next(done), total)) for region in ordered)
    parents = tuple(
        tuple(below for below in range(index) if _is_part(masks[index], masks[below]))
        for index in range(len(masks))
    )
    return RegionStack(ordered, masks, _visible(masks), parents)


def reshape_regions(stack: RegionStack, mode: MaskMode) -> RegionStack:
    """The stack with every mask, as it is, put into another mode's shape."""
    return reshaped(stack, lambda mask: shape_mask(mask, mode))


def reshaped(stack: RegionStack, shape: Callable[[Mask], Mask]) -> RegionStack:
    """The stack with every frame's mask (H, W) put into a shape."""
    return _of_masks(stack, tuple(np.stack([shape(mask) for mask in masks]) for masks in stack.masks))


def sparing(stack: RegionStack, drawn: RegionStack) -> RegionStack:
    """The stack without what was drawn as another region and not as their own: a region that has been given
    room takes none of it from its neighbours.

    drawn: the same regions as they were.
    """
    masks = []
    for index, own in enumerate(drawn.masks):
        others, spared = drawn.masks[:index] + drawn.masks[index + 1 :], stack.masks[index].copy()
        for frame, mask in enumerate(own):
            for other in others:
                spared[frame][(other[frame] > 0) & (mask == 0)] = 0
        masks.append(spared)
    return _of_masks(stack, tuple(masks))


def merge_frames(stack: RegionStack, groups: Sequence[range]) -> RegionStack:
    """The stack with one mask for each group of frames: what any of them holds."""

    def merged(masks: Mask) -> Mask:
        return np.stack([masks[group.start : group.stop].max(axis=0) for group in groups])

    masks = tuple(merged(masks) for masks in stack.masks)
    return replace(stack, masks=masks, visible=tuple(merged(masks) for masks in stack.visible))


def crop_regions(stack: RegionStack, height: int, width: int, part: tuple[slice, slice]) -> RegionStack:
    """The stack over a part (rows, columns) of the picture at another size (height, width), by area."""

    def cropped(masks: Mask) -> Mask:
        return np.stack([resize_masks(mask[None], height, width)[0][part] for mask in masks])

    masks = tuple(cropped(masks) for masks in stack.masks)
    return replace(stack, masks=masks, visible=tuple(cropped(masks) for masks in stack.visible))


def _shaped(region: Region, after_frame: Callable[[], None]) -> Mask:
    """The region's masks in the shape that its mode asks for; the very array where that is as drawn."""
    if region.mode is MaskMode.TIGHT:
        return region.masks
    shaped = np.empty_like(region.masks)
    for frame, mask in enumerate(region.masks):
        shaped[frame] = shape_mask(mask, region.mode, region.dilation)
        after_frame()
    return shaped


def _of_masks(stack: RegionStack, masks: tuple[Mask, ...]) -> RegionStack:
    return replace(stack, masks=masks, visible=_visible(masks))


def _visible(masks: tuple[Mask, ...]) -> tuple[Mask, ...]:
    return tuple(_uncovered(mask, masks[index + 1 :]) for index, mask in enumerate(masks))


def _uncovered(masks: Mask, above: Sequence[Mask]) -> Mask:
    """What of the masks no mask above hides."""
    if not above:
        return masks
    uncovered = np.empty_like(masks)
    for frame, mask in enumerate(masks):
        uncovered[frame] = subtract(mask, *(other[frame] for other in above))
    return uncovered


def _is_part(masks: Mask, others: Mask) -> bool:
    area = outer_area = shared = 0
    for mask, other in zip(masks, others, strict=True):
        inner, outer = hard(mask), hard(other)
        area += int(inner.sum())
        outer_area += int(outer.sum())
        shared += int((inner & outer).sum())
    return 0 < area < outer_area and shared >= _NESTED_SHARE * area
