"""Clips from a first frame, with the backbone as an edit uses it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.backbones.video_protocol import VideoBackbone
from mattebox_backend.lora.told import Told, known_pixels

NEGATIVE = ""


@torch.no_grad()
def sample_clip(
    backbone: VideoBackbone,
    frames: NDArray[np.uint8],
    prompt: str,
    *,
    seed: int,
    told: Told = Told.FIRST,
    steps: int = 20,
    guidance: float = 3.0,
    shift: float = 3.0,
) -> NDArray[np.uint8]:
    """A clip (F, H, W, 3) uint8 generated from what is told of one, by its default from its first frame."""
    known = known_pixels(told, np.ones(frames.shape[:3], np.bool_))
    condition = backbone.condition(frames, known)
    prompts = [backbone.prompt(text, frames[0]) for text in (prompt, NEGATIVE)]
    count = (len(frames) - 1) // backbone.frame_stride + 1
    latents = torch.randn(
        (count, backbone.latent_channels, *condition.shape[-2:]),
        generator=torch.Generator().manual_seed(seed),
    )
    grid = backbone.schedule.grid(steps, shift)
    for level in range(grid.steps, 0, -1):
        both = latents.expand(2, *latents.shape)
        given, without = backbone.predict(both, grid.timesteps[level - 1], condition, prompts)
        latents = grid.move(latents, without + guidance * (given - without), level, level - 1)
    return np.stack(list(_eight_bit(backbone.decode(latents))))


def _eight_bit(frames: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.uint8]]:
    for frame in frames:
        yield np.rint(frame * 255).astype(np.uint8)
