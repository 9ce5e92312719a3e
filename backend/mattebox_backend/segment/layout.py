"""What a model knows of a clip's layout before anyone painted a region: the rows of the self attention of its
inversion (ST-Modulator, section 3.1 and figure 3 (b)).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.attention import AttentionSite, Reach, SiteKind
from mattebox_backend.attention.rows import RowFeatures
from mattebox_backend.backbones.protocol import Backbone
from mattebox_backend.diffusion.control import SOURCE_BRANCH
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.flow import FlowGrid
from mattebox_backend.diffusion.schedule import Grid, felt_log_snr
from mattebox_backend.errors import InvalidEdit

LEVEL = 0.6
"""The noise level whose attention is read, as log-SNR felt at 512²: things are still there and their texture
is not (a quarter of Stable Diffusion's way; Tang et al., DIFT, read theirs at 0.26).
"""
_FEWEST_TOKENS = 16


def readable_sites(
    backbone: Backbone, latent_size: tuple[int, int], reduction: int = 0
) -> list[AttentionSite]:
    """The self attention of one size; 0: half the latents' side, as in the paper; small ones are read whole.

    Raises `InvalidEdit` where the backbone has none of the size.
    """
    of_kind = [site for site in backbone.attention_sites() if site.kind is SiteKind.SELF]
    has = sorted({site.reduction for site in of_kind})
    if reduction == 0:
        fine = min(latent_size) // 2 < _FEWEST_TOKENS
        wanted = 1 if fine else 2
        reduction = min(has, key=lambda one: abs(one - wanted))
    sites = [site for site in of_kind if site.reduction == reduction]
    if not sites:
        raise InvalidEdit(
            f"{backbone.name} has no self attention at 1/{reduction} of its latents; set the reduction to "
            f"one of {', '.join(map(str, has))}."
        )
    return sites


def readable_level(grid: Grid | FlowGrid, picture_size: tuple[int, int]) -> int:
    """The first level of a grid that is as noisy as `LEVEL`, or the noisiest that there is a step from."""
    felt = (felt_log_snr(grid.log_snr(level), *picture_size) for level in range(grid.steps))
    return next((level for level, value in enumerate(felt) if value <= LEVEL), grid.steps - 1)


def row_features(
    backbone: Backbone,
    latents: torch.Tensor,
    timestep: int,
    text: torch.Tensor,
    sites: list[AttentionSite],
    seed: int,
) -> NDArray[np.float32]:
    """One feature per token of all frames, (F·h·w, d): its row of the full-frame self attention at `sites`.

    latents: (F, C, h, w) of the source at the noise level of `timestep`. text: (L, C).
    """
    rows = RowFeatures(backbone.switchboard, sites, SOURCE_BRANCH, seed=seed)
    with rows.listening():
        asked = latents.unsqueeze(0), timestep, text.unsqueeze(0), [SOURCE_BRANCH]
        Denoiser(backbone, Reach.ALL).predict(*asked)
    return rows.features().cpu().numpy()
