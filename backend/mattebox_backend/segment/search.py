"""A search for regions, as one line: decode → encode → invert a little → read the attention → cluster."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from mattebox_media import open_clip
from numpy.typing import NDArray

from mattebox_backend.attention import AttentionSite, Reach
from mattebox_backend.backbones.protocol import Backbone, check_frames
from mattebox_backend.device import Device
from mattebox_backend.diffusion.control import SOURCE_BRANCH
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.render.encoding import encode_frames
from mattebox_backend.render.stages import BackboneSource, Stage, StageClock
from mattebox_backend.render.view import View
from mattebox_backend.segment.clusters import cluster, label_masks
from mattebox_backend.segment.layout import readable_level, readable_sites, row_features
from mattebox_backend.segment.proposals import Proposal, ProposalRequest

_STEPS = 50
_SHORTER = "choose a shorter --range, of at most {limit} frames"

Progress = Callable[[Stage, int, int], None]


@torch.no_grad()
def search(
    request: ProposalRequest, models: BackboneSource, device: Device, progress: Progress
) -> list[Proposal]:
    """See `segment.propose_regions`."""
    with open_clip(request.clip) as reader:
        info = reader.info
        request.check(info)
        progress(Stage.LOAD, 0, 1)
        backbone = models.load(request.backbone, device)
        check_frames(backbone, request.stop - request.start, _SHORTER)
        text = backbone.embed(request.prompt).states
        size = backbone.working_size(info.width, info.height)
        cells = (size.latent_height, size.latent_width)
        sites = readable_sites(backbone, cells, request.reduction)
        latents = encode_frames(
            reader,
            range(request.start, request.stop),
            View(size, size),
            backbone,
            StageClock(),
            lambda done, of: progress(Stage.ENCODE, done, of),
        )
    features = _features(backbone, latents, text, sites, request.seed, progress)
    progress(Stage.MASKS, 0, 1)
    height, width = sites[0].grid(*cells)
    if request.regions > len(features):
        raise InvalidEdit(
            f"{request.regions} regions cannot be made of {len(features)} tokens; ask for fewer."
        )
    labels = cluster(features, request.regions, request.seed).reshape(-1, height, width)
    masks = label_masks(labels, request.regions, info.height, info.width)
    progress(Stage.MASKS, 1, 1)
    found = [Proposal(of_region, float((of_region > 0).mean())) for of_region in masks]
    return sorted((proposal for proposal in found if proposal.share), key=lambda p: -p.share)


def _features(
    backbone: Backbone,
    latents: torch.Tensor,
    text: torch.Tensor,
    sites: list[AttentionSite],
    seed: int,
    progress: Progress,
) -> NDArray[np.float32]:
    """One feature per token of all frames, (F·h·w, d): its row of the inversion's self attention."""
    grid = backbone.schedule.grid(_STEPS)
    last = readable_level(grid, (latents.shape[-2], latents.shape[-1]))
    denoiser = Denoiser(backbone, Reach.ALL)
    for level in range(last):
        progress(Stage.INVERT, level, last + 1)
        timestep = grid.timesteps[level]
        noise = denoiser.predict(latents.unsqueeze(0), timestep, text.unsqueeze(0), [SOURCE_BRANCH])[0]
        latents = grid.move(latents, noise, level, level + 1)
    progress(Stage.INVERT, last, last + 1)
    features = row_features(backbone, latents, grid.timesteps[last], text, sites, seed)
    progress(Stage.INVERT, last + 1, last + 1)
    return features
