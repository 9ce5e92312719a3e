"""Clips from prompts: plain classifier-free guidance over DDIM, with motion modules or frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import UNet2DConditionModel, UNetMotionModel
from numpy.typing import NDArray
from torch import Tensor

from mattebox_backend.pocket.denoiser import build_scheduler
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.motion.training import draw_clip_noise
from mattebox_backend.pocket.sampling import decoded
from mattebox_backend.pocket.text import embed


@torch.no_grad()
def sample_clips(
    base: PocketSd,
    unet: UNetMotionModel | UNet2DConditionModel,
    prompts: Sequence[str],
    frames: int,
    *,
    seed: int,
    steps: int = 25,
    guidance: float = 7.0,
) -> NDArray[np.uint8]:
    """One clip per prompt, (N, F, H, W, 3) uint8 RGB. ``unet`` has motion modules, or is the base's own: then
    each frame is on its own. The noise depends on ``seed`` and the number of prompts alone, not on ``unet``.
    """
    scheduler = build_scheduler()
    scheduler.set_timesteps(steps)
    size = base.models.unet.config.sample_size
    words = embed(base.tokenizer, base.models.text_encoder, [*[""] * len(prompts), *prompts])
    context = words.repeat_interleave(frames, dim=0)
    latents = draw_clip_noise(
        (len(prompts), 4, frames, size, size), base.offset_noise, torch.Generator().manual_seed(seed)
    )
    for level in scheduler.timesteps:
        noise = predict_clips(unet, torch.cat([latents, latents]), level, context)
        without, given = noise.chunk(2)
        latents = scheduler.step(without + guidance * (given - without), level, latents).prev_sample
    pictures = decoded(base.vae, latents.transpose(1, 2).flatten(0, 1))
    return pictures.reshape(len(prompts), frames, *pictures.shape[1:])


def predict_clips(
    unet: UNetMotionModel | UNet2DConditionModel, noisy: Tensor, levels: Tensor, context: Tensor
) -> Tensor:
    """The noise in clips (N, 4, F, h, w) at ``levels``, one for all or (N,), under the states of each frame's
    prompt (N · F, L, C).
    """
    if isinstance(unet, UNetMotionModel):
        return torch.as_tensor(unet(noisy, levels, context).sample)
    frames = noisy.transpose(1, 2)
    of_frames = levels.expand(len(noisy)).repeat_interleave(noisy.shape[2])
    predicted = unet(frames.flatten(0, 1), of_frames, context).sample
    return torch.as_tensor(predicted).view(frames.shape).transpose(1, 2)
