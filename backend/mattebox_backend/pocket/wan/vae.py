"""Trains the pocket video autoencoder: 4 frames of 8 x 8 pixels become one latent position of 16 channels,
the first frame alone another.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from torch import Tensor

from mattebox_backend.pocket.checkpoint import fingerprint, read_checkpoint, write_checkpoint
from mattebox_backend.pocket.optimizer import build_optimizers
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import VAE_SEEDS, step_generator
from mattebox_backend.pocket.vae import CROWDED, psnr_of
from mattebox_backend.pocket.wan.config import PocketWanConfig, VideoVaeConfig
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import sample_scene

REPORT_EVERY = 20
LATENT_CHANNELS = 16
_MEASURED_ON = 48
"""Clips on which mean and spread of the latents are measured."""


def build_video_vae(config: VideoVaeConfig) -> AutoencoderKLWan:
    """An untrained autoencoder of Wan's make."""
    return AutoencoderKLWan(
        base_dim=config.channels,
        z_dim=LATENT_CHANNELS,
        dim_mult=list(config.multiples),
        num_res_blocks=config.layers,
        attn_scales=[],
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    )


def train_video_vae(config: PocketWanConfig, work: Path) -> AutoencoderKLWan:
    """Train the autoencoder in ``work``, or go on from its checkpoint there; returns it in evaluation mode.

    The loss is that of pocket-sd's: L1 + 2 x MSE of the reconstruction, L1 of its differences between
    neighbours in space, here in time too, and a light KL term. The learning rate falls along a cosine.
    Afterwards mean and spread of each latent channel go into its configuration, as Wan's stand in its own.
    """
    settings = config.vae
    torch.manual_seed(config.seed)
    vae = build_video_vae(settings)
    channels_last(vae)
    ends = {id(p) for end in (vae.encoder.conv_in, vae.decoder.conv_out) for p in end.parameters()}
    inner = [p for p in vae.parameters() if p.ndim >= 4 and id(p) not in ends and p.flatten(1).shape[1] > 1]
    others = [p for p in vae.parameters() if not any(p is one for one in inner)]
    optimizers = build_optimizers(settings.optimizer, inner, others, settings.learning_rate)
    mark = fingerprint("video-vae", config.seed, config.size, config.frames, settings.model_dump())
    checkpoint = work / "vae.safetensors"
    start = read_checkpoint(checkpoint, mark, {"vae": vae}, optimizers)
    pool = vae_pool(settings.pool if start < settings.steps else 1, config)
    log = RunLog(work / "progress.jsonl", "vae", settings.steps)
    vae.train()
    for step in range(start, settings.steps):
        pixels = _batch(pool, settings, step, np.random.default_rng((config.seed, 1, step)))
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = settings.learning_rate * _cosine(step, settings.steps)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(pixels).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=step_generator(config.seed, 1, step))
            output = vae.decode(posterior.mean + posterior.std * noise).sample
        error = output.float() - pixels
        absolute, squared = error.abs().mean(), error.square().mean()
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).float().mean()
        loss = absolute + 2 * squared + 0.5 * _edge_error(error) + settings.kl_weight * divergence
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if (step + 1) % REPORT_EVERY == 0 or step == start:
            log.report(step + 1, loss=loss.item(), psnr=psnr_of(squared.item()), kl=divergence.item())
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == settings.steps:
            write_checkpoint(checkpoint, step + 1, mark, {"vae": vae}, optimizers)
    vae.eval().requires_grad_(False)
    _measure_latents(vae, vae_pool(_MEASURED_ON, config))
    return vae


def channels_last(vae: AutoencoderKLWan) -> None:
    """Lay the convolutions' weights out with their channels last: on a CPU they then take half the time."""
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data = module.weight.data.to(memory_format=torch.channels_last_3d)


def to_video(frames: NDArray[np.uint8]) -> Tensor:
    """Clips (N, F, H, W, 3) uint8 as Wan takes them: (N, 3, F, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 4, 1, 2, 3).float().div(127.5).sub(1.0)


def vae_pool(count: int, config: PocketWanConfig) -> NDArray[np.uint8]:
    """Clips (N, F, H, W, 3) to learn pictures from."""
    clips = np.empty((count, config.frames, config.size, config.size, 3), np.uint8)
    for index in range(count):
        scene = sample_scene(
            VAE_SEEDS + index, CROWDED, width=config.size, height=config.size, frames=config.frames
        )
        for time in range(config.frames):
            clips[index, time] = render_frame(scene, time)
    return clips


def _batch(pool: NDArray[np.uint8], settings: VideoVaeConfig, step: int, rng: np.random.Generator) -> Tensor:
    kinds = settings.whole if step >= settings.steps - settings.whole_steps else settings.crops
    kind = kinds[step % len(kinds)]
    side, length = kind.side or pool.shape[2], min(pool.shape[1], kind.frames)
    views = []
    for index in rng.integers(len(pool), size=kind.count):
        top, left = rng.integers(0, pool.shape[2] - side + 1, size=2)
        first = int(rng.integers(0, pool.shape[1] - length + 1))
        view = pool[index, first : first + length, top : top + side, left : left + side]
        for axis in range(3):  # backwards, upside down, mirrored
            view = np.flip(view, axis) if rng.random() < 0.5 else view
        views.append(view)
    return to_video(np.stack(views))


def _edge_error(error: Tensor) -> Tensor:
    differences = [error.diff(dim=axis).abs() for axis in (-1, -2, -3)]
    return torch.stack([one.mean() for one in differences if one.numel()]).sum()


def _cosine(step: int, steps: int) -> float:
    warmup = min(1.0, (step + 1) / 50)
    return float(warmup * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / steps))))


@torch.no_grad()
def _measure_latents(vae: AutoencoderKLWan, clips: NDArray[np.uint8]) -> None:
    latents = []
    for clip in clips:
        with torch.autocast("cpu", torch.bfloat16):
            latents.append(vae.encode(to_video(clip[None])).latent_dist.mode().float())
    together = torch.cat(latents)
    vae.register_to_config(
        latents_mean=[round(float(value), 4) for value in together.mean(dim=(0, 2, 3, 4))],
        latents_std=[round(float(value), 4) for value in together.std(dim=(0, 2, 3, 4))],
    )
