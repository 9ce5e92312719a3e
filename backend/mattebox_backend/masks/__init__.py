"""Region masks: algebra, modes, feathers, and the pyramids down to latent and attention size.

Every mask here follows the project's convention: 255 (or 1) means *edit here*.
"""

from mattebox_backend.masks.algebra import intersect, invert, subtract, union
from mattebox_backend.masks.feather import boundary_band, matte
from mattebox_backend.masks.loose import loosened
from mattebox_backend.masks.modes import shape_mask
from mattebox_backend.masks.pyramid import area_coverage, resize_masks, token_owners, whole_cells
from mattebox_backend.masks.smoothing import smooth_mask, smooth_matte
from mattebox_backend.masks.stack import (
    BACKGROUND,
    RegionStack,
    crop_regions,
    merge_frames,
    reshape_regions,
    stack_regions,
)

__all__ = [
    "BACKGROUND",
    "RegionStack",
    "area_coverage",
    "boundary_band",
    "crop_regions",
    "intersect",
    "invert",
    "loosened",
    "matte",
    "merge_frames",
    "reshape_regions",
    "resize_masks",
    "shape_mask",
    "smooth_mask",
    "smooth_matte",
    "stack_regions",
    "subtract",
    "token_owners",
    "union",
    "whole_cells",
]
