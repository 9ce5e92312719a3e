"""How well a result fits its words, by a CLIP's judgement: CLIP-T, CLIP-F and Q-edit (ST-Modulator, section
4.3; Cong et al., 2023); and how well the pictures that it was made from: CLIP score and input similarity
(mask-aware LoRA, section 4.2). Cosines lie in [-1, 1]; some of the papers' tables show a hundred times that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mattebox_backend.metrics.boxes import region_box
from mattebox_backend.metrics.errors import MetricInputError
from mattebox_backend.metrics.fidelity import Frames, Mask

if TYPE_CHECKING:
    from mattebox_backend.metrics.scorer import Embeddings, Scorer


def text_alignment(pictures: Embeddings, text: Embeddings) -> float:
    """CLIP-T: the mean over the frames of the cosine of frame and prompt.

    pictures: (F, C) embeddings of the frames. text: (C,) that of the prompt. Raises
    :class:`MetricInputError` without a frame.
    """
    if not len(pictures):
        raise MetricInputError("The clip has no frames; compare at least one with the prompt.")
    return float(np.mean(_unit(pictures) @ _unit(text)))


def region_alignment(
    scorer: Scorer, frames: Frames, masks: Sequence[Mask], prompts: Sequence[str]
) -> float | None:
    """CLIP-T of regions: the square around each region's bounding box is held against the region's own
    prompt; the mean over the frames that show the region, then over the regions.

    frames: (F, H, W, 3) uint8. masks: a mask (F, H, W) per prompt. None where every mask is empty. Raises
    :class:`MetricInputError` for masks that do not fit.
    """
    if len(masks) != len(prompts):
        raise MetricInputError(f"There are {len(masks)} masks and {len(prompts)} prompts; give one each.")
    means = []
    for mask, prompt in zip(masks, prompts, strict=True):
        if mask.shape != frames.shape[:3]:
            raise MetricInputError(
                f"The mask has size {mask.shape}, the clip {frames.shape[:3]}; give one mask per frame."
            )
        boxes = [region_box(inside) for inside in mask]
        crops = [frame[box] for frame, box in zip(frames, boxes, strict=True) if box is not None]
        if crops:
            means.append(text_alignment(scorer.embed_pictures(crops), scorer.embed_texts([prompt])[0]))
    return float(np.mean(means)) if means else None


def frame_consistency(pictures: Embeddings) -> float | None:
    """CLIP-F: the mean cosine of consecutive frames, whose embeddings are (F, C); None for a single frame."""
    if len(pictures) < 2:
        return None
    unit = _unit(pictures)
    return float(np.mean(np.sum(unit[:-1] * unit[1:], axis=1)))


def first_frame_alignment(pictures: Embeddings, first: Embeddings) -> float | None:
    """The CLIP score of mask-aware LoRA: the mean cosine of the frames that follow, of all (F, C), and the
    edited first frame (C,); None for a single frame.

    The first of the frames is left out: it is what was given, and would count for more in a shorter clip.
    """
    return text_alignment(pictures[1:], first) if len(pictures) > 1 else None


def input_similarity(pictures: Embeddings, inputs: Embeddings) -> float:
    """Input similarity of mask-aware LoRA: the mean cosine of every frame and that of the source, (F, C)
    each. Raises :class:`MetricInputError` without a frame, and for clips of unequal length.
    """
    if len(pictures) != len(inputs) or not len(pictures):
        raise MetricInputError(
            f"There are {len(pictures)} frames and {len(inputs)} of the source; compare frame by frame."
        )
    return float(np.mean(np.sum(_unit(pictures) * _unit(inputs), axis=1)))


def edit_quality(alignment: float, warp: float | None) -> float | None:
    """Q-edit: CLIP-T / Warp-Err. The scale of both cancels, so that it is the number in ST-Modulator's tables
    whichever is scaled by 100. None where there is no Warp-Err, or none that one can divide by.
    """
    return alignment / warp if warp else None


def _unit(vectors: Embeddings) -> Embeddings:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
