"""Trains the pocket autoencoder: 8 x 8 pixels become one latent position of 4 channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from mattebox_backend.pocket.checkpoint import fingerprint, read_checkpoint, write_checkpoint
from mattebox_backend.pocket.config import PocketSdConfig, VaeConfig
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import VAE_SEEDS, step_generator
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import SceneOptions, sample_scene

REPORT_EVERY = 50
SCALED_ON = 128
"""Frames on which the scaling factor is measured."""
CROWDED = SceneOptions(counts=(0.02, 0.18, 0.3, 0.5), parts=0.3)
"""More to see per frame than in the set of the denoiser: plain background is learnt soon enough."""


def build_vae(config: VaeConfig, size: int) -> AutoencoderKL:
    """An untrained autoencoder for ``size`` x ``size`` frames."""
    levels = len(config.channels)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=size,
    )


def train_vae(config: PocketSdConfig, work: Path) -> AutoencoderKL:
    """Train the autoencoder in ``work``, or go on from its checkpoint there; returns it in evaluation mode.

    The loss is L1 + 2 x MSE of the reconstruction, L1 of its differences between neighbours (which keeps
    corners sharp), and a light KL term. The learning rate falls along a cosine once per cycle; in each cycle
    the first steps see crops, the others whole frames. Afterwards each channel of the latents is brought to
    mean 0 and variance 1.
    """
    settings = config.vae
    torch.manual_seed(config.seed)
    vae = build_vae(settings, config.size)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=settings.learning_rate, weight_decay=1e-4)
    mark = fingerprint("vae", config.seed, config.size, settings.model_dump())
    checkpoint = work / "vae.safetensors"
    start = read_checkpoint(checkpoint, mark, {"vae": vae}, [optimizer])
    pool = (
        _pool(settings.pool, config)
        if start < settings.steps
        else np.zeros((1, config.size, config.size, 3), np.uint8)
    )
    log = RunLog(work / "progress.jsonl", "vae", settings.steps)
    vae.train()
    for step in range(start, settings.steps):
        rng = np.random.default_rng((config.seed, 1, step))
        pixels = _batch(pool, settings, step, rng)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _cosine(step % settings.cycle, settings.cycle)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(pixels).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=step_generator(config.seed, 1, step))
            output = vae.decode(posterior.mean + posterior.std * noise).sample
        error = output.float() - pixels
        absolute, squared = error.abs().mean(), error.square().mean()
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).float().mean()
        loss = absolute + 2 * squared + 0.5 * _edge_error(error) + settings.kl_weight * divergence
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % REPORT_EVERY == 0 or step == start:
            log.report(step + 1, loss=loss.item(), psnr=psnr_of(squared.item()), kl=divergence.item())
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == settings.steps:
            write_checkpoint(checkpoint, step + 1, mark, {"vae": vae}, [optimizer])
    vae.eval().requires_grad_(False)
    normalise_latents(vae, config)
    return vae


def to_pixels(frames: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def psnr_of(mean_square: float) -> float:
    """PSNR in dB for values in [-1, 1]."""
    return float(10 * np.log10(4.0 / max(mean_square, 1e-12)))


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1] through the autoencoder and back, by the mean of its latents."""
    return torch.as_tensor(vae.decode(vae.encode(pixels).latent_dist.mean).sample).clamp(-1, 1)


def _pool(count: int, config: PocketSdConfig) -> NDArray[np.uint8]:
    frames = np.empty((count, config.size, config.size, 3), np.uint8)
    for index in range(count):
        scene = sample_scene(VAE_SEEDS + index, CROWDED, width=config.size, height=config.size)
        frames[index] = render_frame(scene, index % scene.frames)
    return frames


def _batch(pool: NDArray[np.uint8], settings: VaeConfig, step: int, rng: np.random.Generator) -> Tensor:
    size = pool.shape[1]
    if step % settings.cycle >= settings.crop_steps or settings.crop >= size:
        return _mirrored(to_pixels(pool[rng.integers(len(pool), size=settings.frame_batch)]), rng)
    crop, views = settings.crop, []
    for index in rng.integers(len(pool), size=settings.crop_batch):
        top, left = rng.integers(0, size - crop + 1, size=2)
        views.append(pool[index, top : top + crop, left : left + crop])
    return _mirrored(to_pixels(np.stack(views)), rng)


def _edge_error(error: Tensor) -> Tensor:
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def _mirrored(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    if rng.random() < 0.5:
        pixels = pixels.flip(-1)
    return pixels.flip(-2) if rng.random() < 0.5 else pixels


def _cosine(step: int, steps: int) -> float:
    warmup = min(1.0, (step + 1) / 50)
    return float(warmup * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / steps))))


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, config: PocketSdConfig) -> None:
    """Fold into the 1x1 convolutions around the latents what gives each channel mean 0 and variance 1.

    One scaling factor for all channels, as the format has it, would leave those that carry fine detail so
    faint that the denoiser only sees them at the very last noise levels. What is decoded does not change.
    """
    small = _pool(min(SCALED_ON, config.vae.pool), config)
    latents = torch.cat([vae.encode(to_pixels(part)).latent_dist.mean for part in np.array_split(small, 8)])
    mean, spread = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    before, after = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= spread.view(1, -1, 1, 1)
    before.weight[:channels] /= spread.view(-1, 1, 1, 1)
    before.bias[:channels] = (before.bias[:channels] - mean) / spread
    before.bias[channels:] -= 2 * spread.log()  # the logarithms of the variances
    vae.register_to_config(scaling_factor=1.0)
