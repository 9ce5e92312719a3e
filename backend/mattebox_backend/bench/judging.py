"""Holds the result of a task against its truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.bench.tasks import Task
from mattebox_backend.metrics.alignment import (
    edit_quality,
    first_frame_alignment,
    frame_consistency,
    input_similarity,
    region_alignment,
    text_alignment,
)
from mattebox_backend.metrics.boundary import boundary_error
from mattebox_backend.metrics.fidelity import exact_share, masked_psnr, masked_ssim
from mattebox_backend.metrics.perceptual import feature_distance
from mattebox_backend.metrics.recognition import (
    Accuracy,
    Target,
    colour_leak,
    colour_unsteadiness,
    edit_accuracy,
    placement,
)
from mattebox_backend.metrics.smoothness import motion_smoothness
from mattebox_backend.metrics.temporal import temporal_gradient_ratio, warp_error
from mattebox_backend.world.edits import Remove
from mattebox_backend.world.scene import SceneObject
from mattebox_backend.world.vocabulary import BACKGROUND_RGB, BackgroundColour, Pattern

if TYPE_CHECKING:
    from mattebox_backend.metrics.scorer import Scorer

PATTERN_CONTRAST = 6.0
"""Standard deviation of the lightness (0..100) times 2.55 above which a background counts as patterned."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures of one result; None where a figure does not apply.

    accuracy: share of edited object-frames with the right colour and shape (for a background: right colour
    and pattern); while an object turns from one colour to another, it is not judged. colour, shape: each for
    itself. placement: VISOR-style. psnr, ssim: to the true edit inside
    the regions. whole_psnr: to the true edit, everywhere. background_psnr: to the source, outside the
    regions. A PSNR is None where all is equal. background_exact: share of the pixels outside the regions that
    equal the source. gradient_region, gradient_background: G_temp over that of the truth (eq. 6.1). boundary:
    E_bound (eq. 6.2). warp: Warp-Err with true flow inside the regions. leak: share of pixels with another
    region's colour. unsteadiness: spread of a region's mean colour over time (CIELAB).

    By the scorer: clip_t: cosine of the frames and the prompt. clip_t_region: of each region and its own.
    clip_f: of consecutive frames. q_edit: clip_t over Warp-Err with true flow, here over the whole frame as
    in the paper. perceptual: distance of the vision tower's states to those of the true edit, inside the
    regions; background_perceptual: to the source's, outside. smoothness: how well every second frame is
    interpolated from its neighbours. clip_first: of the frames and the true edit's first one.
    input_similarity: of the frames and the source's, each with its own.

    end_accuracy, end_psnr: `accuracy` and `psnr` of the last quarter of the clip.
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
    clip_t: float
    clip_t_region: float | None
    clip_f: float | None
    q_edit: float | None
    perceptual: float | None
    background_perceptual: float | None
    smoothness: float | None
    clip_first: float | None
    input_similarity: float
    end_accuracy: float | None
    end_psnr: float | None

    @classmethod
    def names(cls) -> list[str]:
        """Names of the figures, in the order of the table."""
        return [field.name for field in fields(cls)]


def judge(task: Task, frames: NDArray[np.uint8], scorer: Scorer) -> Verdict:
    """Every figure of ``frames`` (F, H, W, 3) uint8 as the result of ``task``; ``scorer`` is the CLIP that
    judges them.
    """
    region_masks = [task.region_masks(region) for region in task.regions]
    regions = np.max(region_masks, axis=0)
    truth, source, outside = task.truth, task.source, regions == 0
    targets, masks, indices = _targets(task)
    known = task.edited_scene.background.colour
    whole, end = slice(None), slice(len(frames) - max(1, len(frames) // 4), None)
    accuracy = _accuracy(task, frames, regions, whole)
    centres = [_centres(task, index) for index in indices]
    seen = [n for n, index in enumerate(indices) if index is not None]
    embedded = scorer.embed_pictures(list(frames))
    given = scorer.embed_pictures([truth.frames[0], *source.frames])
    clip_t = text_alignment(embedded, scorer.embed_texts([task.prompt])[0])
    return Verdict(
        accuracy=accuracy.both,
        colour=accuracy.colour,
        shape=accuracy.shape,
        placement=placement(frames, [centres[n] for n in seen], [targets[n] for n in seen], known),
        psnr=_finite(masked_psnr(frames, truth.frames, regions)),
        ssim=masked_ssim(frames, truth.frames, regions),
        whole_psnr=_finite(masked_psnr(frames, truth.frames, np.ones_like(regions))),
        background_psnr=_finite(masked_psnr(frames, source.frames, outside)),
        background_exact=exact_share(frames, source.frames, outside),
        gradient_region=temporal_gradient_ratio(frames, truth.frames, regions),
        gradient_background=temporal_gradient_ratio(frames, source.frames, outside),
        boundary=boundary_error(frames, truth.frames, regions),
        warp=warp_error(frames, truth.flow, truth.occluded, regions[:-1]),
        leak=colour_leak(frames, masks, targets, known),
        unsteadiness=colour_unsteadiness(frames, masks),
        clip_t=clip_t,
        clip_t_region=region_alignment(scorer, frames, region_masks, [r.prompt for r in task.regions]),
        clip_f=frame_consistency(embedded),
        q_edit=edit_quality(clip_t, warp_error(frames, truth.flow, truth.occluded)),
        perceptual=feature_distance(scorer, frames, truth.frames, regions),
        background_perceptual=feature_distance(scorer, frames, source.frames, outside),
        smoothness=motion_smoothness(frames),
        clip_first=first_frame_alignment(embedded, given[0]),
        input_similarity=input_similarity(embedded, given[1:]),
        end_accuracy=_accuracy(task, frames, regions, end).both,
        end_psnr=_finite(masked_psnr(frames[end], truth.frames[end], regions[end])),
    )


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


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


def _accuracy(task: Task, frames: NDArray[np.uint8], regions: NDArray[np.uint8], span: slice) -> Accuracy:
    """Of the frames in a span of the clip."""
    targets, masks, indices = _targets(task)
    if not targets:
        return _background_accuracy(task, frames[span], regions[span])
    stages = [
        stage
        for target, mask, index in zip(targets, masks, indices, strict=True)
        for stage in _stages(target, mask, None if index is None else task.edited_scene.objects[index])
    ]
    return edit_accuracy(
        frames[span],
        [mask[span] for _, mask in stages],
        [target for target, _ in stages],
        task.edited_scene.background.colour,
    )


def _stages(
    target: Target, mask: NDArray[np.uint8], item: SceneObject | None
) -> list[tuple[Target, NDArray[np.uint8]]]:
    """What an object should be before it turns to another colour, and after, each with the mask of those
    frames alone.
    """
    if item is None or item.bloom is None:
        return [(target, mask)]
    done = np.array([item.bloom.progress(time) for time in range(len(mask))])[:, None, None]
    return [(target, mask * (done == 0)), (replace(target, colour=item.bloom.colour), mask * (done == 1))]


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
