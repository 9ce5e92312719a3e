"""Dynamic mask evolution Ψ (region-of-interest-aware diffusion, eq. 4.13): the region grows where the edit
goes on into the source without a seam, and gives way where it conflicts with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import max_pool2d

_LEAST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True)
class MaskEvolution:
    """reach: how many latent cells the mask may move off the user's, outwards and inwards, at least 1.
    agreement: a cell beside the mask joins it where the predicted clean edit differs from the source by at
    most this. conflict: a cell at the mask's edge leaves it where the cells beside it, outside, differ by at
    least this. Differences are root mean squares over channels, in standard deviations of the source's
    latents.
    """

    reach: int
    agreement: float
    conflict: float


def evolve(
    mask: torch.Tensor, clean: torch.Tensor, source: torch.Tensor, evolution: MaskEvolution
) -> torch.Tensor:
    """The mask after `reach` rounds of one cell each.

    mask: (F, 1, h, w) bool, the user's. clean, source: (F, C, h, w), the clean latents that the edit's
    prediction implies, and the source's. Neighbours are the 8 around a cell. In each round
      · every cell outside that touches the mask and agrees joins;
      · every cell inside that touches the outside leaves where the mean difference over its neighbours
        outside is a conflict.
    Both are read off the mask as the round found it. Dilation never leaves what `reach` dilations of the
    user's mask hold, erosion never what as many erosions do. What lies beyond the frame is neither.
    """
    difference = _difference(clean, source)
    for _ in range(evolution.reach):
        inside, outside = mask.float(), (~mask).float()
        gains = ~mask & (max_pool2d(inside, 3, 1, 1) > 0) & (difference <= evolution.agreement)
        around = _sum3(outside)
        beside = _sum3(outside * difference) / around.clamp(min=1)
        losses = mask & (around > 0) & (beside >= evolution.conflict)
        mask = (mask | gains) & ~losses
    return mask


def _difference(clean: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """(F, 1, h, w): root mean square over channels, in standard deviations of the source."""
    spread = source.std(correction=0).clamp(min=_LEAST_SPREAD)
    return (clean - source).square().mean(1, keepdim=True).sqrt() / spread


def _sum3(values: torch.Tensor) -> torch.Tensor:
    """The sum over each cell and its 8 neighbours within the frame."""
    kernel = torch.ones(1, 1, 3, 3, dtype=values.dtype, device=values.device)
    return torch.nn.functional.conv2d(values, kernel, padding=1)
