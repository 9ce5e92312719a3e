"""Figures of a result that need more than the result: its model, or a second result under other masks."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebox_backend.edit import Edit
from mattebox_backend.metrics.sensitivity import mask_sensitivity, perturbed_masks
from mattebox_backend.metrics.spectra import RegionSpectra, region_spectra, spread

if TYPE_CHECKING:
    from mattebox_backend.backbones.protocol import Backbone


@dataclass(frozen=True, slots=True)
class RegionFigures:
    """None where a figure was not asked for, or does not apply.

    sensitivity, sensitivity_near, sensitivity_away: S as a whole, of the pixels near the masks' borders and
    of the others (region-aware diffusion, eq. 6.5). spread_region, spread_background: along how many
    directions the result's latents vary, of as many as they have channels (eqs. 6.3, 6.4).
    """

    sensitivity: float | None
    sensitivity_near: float | None
    sensitivity_away: float | None
    spread_region: float | None
    spread_background: float | None

    @classmethod
    def names(cls) -> list[str]:
        """Names of the figures."""
        return [field.name for field in fields(cls)]


def with_dilated_masks(edit: Edit, pixels: int) -> Edit:
    """The edit with the masks of all its regions dilated by `pixels`."""
    regions = [replace(region, masks=perturbed_masks(region.masks, pixels)) for region in edit.regions]
    return replace(edit, regions=tuple(regions))


def region_figures(
    frames: NDArray[np.uint8],
    edit: Edit,
    other: tuple[NDArray[np.uint8], Edit] | None,
    backbone: Backbone | None,
) -> RegionFigures:
    """Figures of frames (F, H, W, 3) uint8 that came of `edit`. other: what came of the same edit under other
    masks, and that edit. backbone: None for one whose latents stand for several frames, and have no spread
    of a region.
    """
    mask = _union(edit)
    found = mask_sensitivity(frames, other[0], mask, _union(other[1])) if other is not None else None
    spectra = _spectra(frames, mask, backbone) if backbone is not None else None
    return RegionFigures(
        sensitivity=found.overall if found else None,
        sensitivity_near=found.near if found else None,
        sensitivity_away=found.away if found else None,
        spread_region=spread(spectra.region) if spectra and spectra.region is not None else None,
        spread_background=spread(spectra.background) if spectra and spectra.background is not None else None,
    )


def _spectra(frames: NDArray[np.uint8], mask: NDArray[np.uint8], backbone: Backbone) -> RegionSpectra:
    size = backbone.working_size(frames.shape[2], frames.shape[1])
    latents = backbone.encode(_fit(frames, size.width, size.height)).cpu().numpy()
    coverage = _fit(mask, size.latent_width, size.latent_height) / np.float32(255)
    return region_spectra(latents, coverage)


def _union(edit: Edit) -> NDArray[np.uint8]:
    return np.asarray(np.max([region.masks for region in edit.regions], axis=0), np.uint8)


def _fit(pictures: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in pictures])
