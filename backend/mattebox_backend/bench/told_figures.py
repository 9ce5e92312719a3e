"""How much of what an image-to-video model was told of a clip is still there in what it made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mattebox_backend.edit import Edit
from mattebox_backend.lora.told import Told, known_pixels
from mattebox_backend.masks import loosened, stack_regions
from mattebox_backend.metrics.fidelity import masked_psnr


@dataclass(frozen=True, slots=True)
class ToldFigures:
    """kept_psnr: to what the model was told, where it was told it (mask-aware LoRA, figure 2); None where it
    was told nothing, where all is equal, and for a method that tells its model nothing of the kind.
    """

    kept_psnr: float | None = None

    @classmethod
    def names(cls) -> list[str]:
        """Names of the figures."""
        return [field.name for field in fields(cls)]


def told_figures(
    frames: NDArray[np.uint8], source: NDArray[np.uint8], edit: Edit, params: Any
) -> ToldFigures:
    """Figures of frames (F, H, W, 3) uint8 that came of `edit` of a source of the same size. params: all of
    its method's.
    """
    if not hasattr(params, "told"):
        return ToldFigures()
    regions = [replace(region, feather=max(region.feather, params.feather)) for region in edit.regions]
    stack = loosened(stack_regions(regions), params.mask_shape, params.mask_growth)
    edited = np.stack([stack.matte(frame) > 0 for frame in range(len(frames))])
    known, given = known_pixels(Told(params.told), edited), source.copy()
    for reference in edit.references:
        if reference.frame == edit.start or params.hold_references:
            at = reference.frame - edit.start
            given[at] = np.where(edited[at][..., None], reference.image, given[at])
            known[at] |= at > 0
    psnr = masked_psnr(frames, given, known)
    return ToldFigures(psnr if psnr is None or math.isfinite(psnr) else None)
