"""Holds the result of a task against its truth."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.bench.tasks import Task
from mattebox_backend.metrics.boundary import boundary_error
from mattebox_backend.metrics.fidelity import exact_share, masked_psnr, masked_ssim
from mattebox_backend.metrics.recognition import (
    Accuracy,
    Target,
    colour_leak,
    colour_unsteadiness,
    edit_accuracy,
    placement,
)
from mattebox_backend.metrics.temporal import temporal_gradient_ratio, warp_error
from mattebox_backend.world.edits import Remove
from mattebox_backend.world.vocabulary import BACKGROUND_RGB, BackgroundColour, Pattern

PATTERN_CONTRAST = 6.0
"""Standard deviation of the lightness (0..100) times 2.55 above which a background counts as patterned."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures of one result; None where a figure does not apply.

    accuracy: share of edited object-frames with the right colour and shape (for a background: right colour
    and pattern). colour, shape: each for itself. placement: VISOR-style. psnr, ssim: to the true edit inside
    the regions. whole_psnr: to the true edit, everywhere. background_psnr: to the source, outside the
    regions; None where they are equal. background_exact: share of the pixels outside the regions that equal
    the source. gradient_region, gradient_background: G_temp over that of the truth (eq. 6.1). boundary:
    E_bound (eq. 6.2). warp: Warp-Err with true flow inside the regions. leak: share of pixels with another
    region's colour. unsteadiness: spread of a region's mean colour over time (CIELAB).
    """

    accuracy: float | None
    colour: float | None
    shape: float | None
    placement: float | None
    psnr: float | None
    ssim: float | None
    whole_psnr: float | None
    background_psnr: float | None
    background_exact: float | None
    gradient_region: float | None
    gradient_background: float | None
    boundary: float | None
    warp: float | None
    leak: float | None
    unsteadiness: float | None

    @classmethod
    def names(cls) -> list[str]:
        """Names of the figures, in the order of the table."""
        return [field.name for field in fields(cls)]


def judge(task: Task, frames: NDArray[np.uint8]) -> Verdict:
    """Every figure of ``frames`` (F, H, W, 3) uint8 as the result of ``task``."""
    regions = np.max([task.region_masks(region) for region in task.regions], axis=0)
    truth, source, outside = task.truth, task.source, regions == 0
    targets, masks, indices = _targets(task)
    known = task.edited_scene.background.colour
    accuracy = (
        edit_accuracy(frames, masks, targets, known)
        if targets
        else _background_accuracy(task, frames, regions)
    )
    centres = [_centres(task, index) for index in indices]
    seen = [n for n, index in enumerate(indices) if index is not None]
    return Verdict(
        accuracy=accuracy.both,
        colour=accuracy.colour,
        shape=accuracy.shape,
        placement=placement(frames, [centres[n] for n in seen], [targets[n] for n in seen], known),
        psnr=masked_psnr(frames, truth.frames, regions),
        ssim=masked_ssim(frames, truth.frames, regions),
        whole_psnr=masked_psnr(frames, truth.frames, np.ones_like(regions)),
        background_psnr=masked_psnr(frames, source.frames, outside),
        background_exact=exact_share(frames, source.frames, outside),
        gradient_region=temporal_gradient_ratio(frames, truth.frames, regions),
        gradient_background=temporal_gradient_ratio(frames, source.frames, outside),
        boundary=boundary_error(frames, truth.frames, regions),
        warp=warp_error(frames, truth.flow, truth.occluded, regions[:-1]),
        leak=colour_leak(frames, masks, targets, known),
        unsteadiness=colour_unsteadiness(frames, masks),
    )


def _targets(task: Task) -> tuple[list[Target], list[NDArray[np.uint8]], list[int | None]]:
    """What each edited object should be, the mask to look in, and its index in the edited scene (None when it
    is gone).
    """
    removed = sorted(edit.index for edit in task.edits if isinstance(edit, Remove))
    targets: list[Target] = []
    masks: list[NDArray[np.uint8]] = []
    indices: list[int | None] = []
    for region in task.regions:
        for index in region.objects:
            if index in removed:
                targets.append(Target(None, None))
                masks.append(task.source.masks[index])
                indices.append(None)
                continue
            after = index - sum(r < index for r in removed)
            item = task.edited_scene.objects[after]
            targets.append(Target(item.shape, item.colour, item.part.colour if item.part else None))
            masks.append(task.truth.masks[after])
            indices.append(after)
    return targets, masks, indices


def _centres(task: Task, index: int | None) -> NDArray[np.float64]:
    scene = task.edited_scene
    if index is None:
        return np.zeros((scene.frames, 2))
    poses = [scene.objects[index].pose(time, scene.width, scene.height) for time in range(scene.frames)]
    return np.array([(pose.x, pose.y) for pose in poses])


def _background_accuracy(task: Task, frames: NDArray[np.uint8], regions: NDArray[np.uint8]) -> Accuracy:
    """Colour: the mean is nearest to the wanted background colour. Shape: patterned or plain, as wanted."""
    wanted = task.edited_scene.background
    patterned = wanted.pattern is not Pattern.PLAIN
    palette = {
        colour: _lab(np.array(BACKGROUND_RGB[colour], np.float32)[None])[0] for colour in BackgroundColour
    }
    colour = shape = both = 0
    for frame, inside in zip(frames, regions.astype(bool), strict=True):
        pixels = _lab(frame[inside].astype(np.float32))
        mean = pixels.mean(axis=0)
        right_colour = min(palette, key=lambda c: float(np.linalg.norm(palette[c] - mean))) is wanted.colour
        right_pattern = (float(pixels[:, 0].std()) * 2.55 > PATTERN_CONTRAST) == patterned
        colour += right_colour
        shape += right_pattern
        both += right_colour and right_pattern
    return Accuracy(colour / len(frames), shape / len(frames), both / len(frames), len(frames))


def _lab(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(rgb[None] / np.float32(255), cv2.COLOR_RGB2Lab)[0], np.float32)
