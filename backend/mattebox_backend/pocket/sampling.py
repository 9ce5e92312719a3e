"""Pictures from prompts with a pocket model: plain classifier-free guidance over DDIM, to look at and to
measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from mattebox_backend.pocket.checkpoint import write_atomically
from mattebox_backend.pocket.denoiser import build_scheduler, draw_noise
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.text import embed


@torch.no_grad()
def sample_frames(
    model: PocketSd,
    prompts: Sequence[str],
    *,
    seed: int,
    steps: int = 25,
    guidance: float = 7.0,
) -> NDArray[np.uint8]:
    """One frame per prompt, (N, H, W, 3) uint8 RGB. ``guidance`` is the standard scale s of ``e_u + s (e_c -
    e_u)``. The noise that it begins with is of the kind that the model was trained on.
    """
    scheduler = build_scheduler()
    scheduler.set_timesteps(steps)
    unet, text_encoder = model.models.unet, model.models.text_encoder
    size = unet.config.sample_size
    context = torch.cat(
        [
            embed(model.tokenizer, text_encoder, [""] * len(prompts)),
            embed(model.tokenizer, text_encoder, prompts),
        ]
    )
    latents = draw_noise(
        (len(prompts), 4, size, size), model.offset_noise, torch.Generator().manual_seed(seed)
    )
    for level in scheduler.timesteps:
        noise = unet(torch.cat([latents, latents]), level, context).sample
        without, given = noise.chunk(2)
        latents = scheduler.step(without + guidance * (given - without), level, latents).prev_sample
    return decoded(model.vae, latents)


@torch.no_grad()
def decoded(vae: AutoencoderKL, latents: Tensor) -> NDArray[np.uint8]:
    """Frames (N, H, W, 3) uint8 RGB of latents (N, 4, h, w)."""
    pixels = torch.cat(
        [vae.decode(part / vae.config.scaling_factor).sample for part in torch.split(latents, 8)]
    )
    frames = pixels.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return np.asarray(frames.permute(0, 2, 3, 1).numpy())


def contact_sheet(frames: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Frames (N, H, W, 3) side by side in rows of ``columns``, black where the last row is short."""
    count, height, width, channels = frames.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
    sheet[:count] = frames
    return (
        sheet.reshape(rows, columns, height, width, channels)
        .swapaxes(1, 2)
        .reshape(rows * height, columns * width, channels)
    )


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """A PNG of (H, W, 3) RGB, whole or not at all."""
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    write_atomically(path, encoded.tobytes())
