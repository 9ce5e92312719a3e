"""Measures a ControlNet on scenes that neither it nor its base has ever seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel
from numpy.typing import NDArray
from torch import Tensor

from mattebox_backend.conditions import edges
from mattebox_backend.pocket.controlnet.training import predict_noise
from mattebox_backend.pocket.denoiser import (
    LEVELS,
    add_noise,
    build_scheduler,
    draw_noise,
    noise_error,
    stratified_levels,
)
from mattebox_backend.pocket.measure import match_objects
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.seeds import MEASURE_SEEDS, step_generator
from mattebox_backend.pocket.text import embed
from mattebox_backend.pocket.vae import to_pixels
from mattebox_backend.world.captions import CaptionForm, caption
from mattebox_backend.world.recognise import recognise
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import SceneOptions, sample_scene

NEAR = 2
"""Pixels within which an edge counts as found."""
_BATCH = 20
_STAGE = 6


@dataclass(frozen=True, slots=True)
class Figures:
    """Of samples: the share of the condition's edge pixels that are found within `NEAR` pixels, and the
    shares of the objects with the right colour, the right shape, and both.
    """

    edges_found: float
    colour: float
    shape: float
    both: float


@dataclass(frozen=True, slots=True)
class ControlNetFigures:
    """The error of the predicted noise (min-SNR weights), and what samples are like, with the ControlNet and
    without.
    """

    scenes: int
    steps: int
    guidance: float
    noise_error: float
    noise_error_without: float
    with_condition: Figures
    without_condition: Figures

    def as_dict(self) -> dict[str, float]:
        """The figures by name, for JSON and a table."""
        flat: dict[str, float] = {}
        for name, value in asdict(self).items():
            if isinstance(value, dict):
                suffix = "" if name == "with_condition" else "_without"
                flat |= {key + suffix: figure for key, figure in value.items()}
            else:
                flat[name] = value
        return flat


def measure_controlnet(
    base: PocketSd, controlnet: ControlNetModel, scenes: int, *, steps: int = 30, guidance: float = 5.0
) -> ControlNetFigures:
    """One unseen frame per scene: its noise predicted, and a frame sampled from its caption and its edges,
    from the same noise with the ControlNet and without.
    """
    size = base.models.unet.config.sample_size * 2 ** (len(base.vae.config.block_out_channels) - 1)
    made = [
        sample_scene(MEASURE_SEEDS + n, SceneOptions(blooms=0), width=size, height=size)
        for n in range(scenes)
    ]
    frames = np.stack([render_frame(scene, 0) for scene in made])
    forms = list(CaptionForm)
    prompts = [caption(scene, 0, forms[n % len(forms)]) for n, scene in enumerate(made)]
    found = edges(frames)
    judged = []
    for model in (controlnet, None):
        samples = np.concatenate(
            [
                sample_under_edges(
                    base,
                    model,
                    prompts[first : first + _BATCH],
                    found[first : first + _BATCH],
                    seed=first,
                    steps=steps,
                    guidance=guidance,
                )
                for first in range(0, scenes, _BATCH)
            ]
        )
        right, objects = np.zeros(3), 0
        for scene, prompt, sample in zip(made, prompts, samples, strict=True):
            known = scene.background.colour if "background" in prompt else None
            right += match_objects(scene.objects, recognise(sample, known))
            objects += len(scene.objects)
        judged.append(Figures(edges_found(found, edges(samples)), *(float(r / objects) for r in right)))
    return ControlNetFigures(
        scenes,
        steps,
        guidance,
        _noise_error(base, controlnet, frames, prompts, found),
        _noise_error(base, None, frames, prompts, found),
        *judged,
    )


def edges_found(wanted: NDArray[np.uint8], seen: NDArray[np.uint8], near: int = NEAR) -> float:
    """The share of the edge pixels of `wanted` (N, H, W) that have one of `seen` within `near` pixels along
    each axis; 1 where nothing is wanted.
    """
    kernel = np.ones((2 * near + 1, 2 * near + 1), np.uint8)
    hit = sum(int(((w > 0) & (cv2.dilate(s, kernel) > 0)).sum()) for w, s in zip(wanted, seen, strict=True))
    total = int((wanted > 0).sum())
    return hit / total if total else 1.0


@torch.no_grad()
def sample_under_edges(
    base: PocketSd,
    controlnet: ControlNetModel | None,
    prompts: Sequence[str],
    found: NDArray[np.uint8],
    *,
    seed: int,
    steps: int,
    guidance: float,
) -> NDArray[np.uint8]:
    """One frame per prompt, (N, H, W, 3) uint8 RGB, under edges (N, H, W) uint8; both branches of the
    guidance see them.
    """
    scheduler = build_scheduler()
    scheduler.set_timesteps(steps)
    unet, encoder, count = base.models.unet, base.models.text_encoder, len(prompts)
    context = torch.cat(
        [embed(base.tokenizer, encoder, [""] * count), embed(base.tokenizer, encoder, prompts)]
    )
    size = unet.config.sample_size
    latents = draw_noise((count, 4, size, size), base.offset_noise, torch.Generator().manual_seed(seed))
    conditions = _pictures(found).repeat(2, 1, 1, 1)
    for level in scheduler.timesteps:
        levels = level.expand(2 * count)
        noise = predict_noise(unet, controlnet, latents.repeat(2, 1, 1, 1), levels, context, conditions)
        without, given = noise.chunk(2)
        latents = scheduler.step(without + guidance * (given - without), level, latents).prev_sample
    pixels = base.vae.decode(latents / base.vae.config.scaling_factor).sample
    frames = pixels.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return np.asarray(frames.permute(0, 2, 3, 1).numpy(), np.uint8)


@torch.no_grad()
def _noise_error(
    base: PocketSd,
    controlnet: ControlNetModel | None,
    frames: NDArray[np.uint8],
    prompts: Sequence[str],
    found: NDArray[np.uint8],
) -> float:
    """The mean weighted error over levels spread evenly; the same noise for every model."""
    total = 0.0
    for first in range(0, len(frames), _BATCH):
        part = slice(first, first + _BATCH)
        latents = base.vae.encode(to_pixels(frames[part])).latent_dist.mean * base.vae.config.scaling_factor
        context = embed(base.tokenizer, base.models.text_encoder, prompts[part])
        generator = step_generator(0, _STAGE, first)
        levels = stratified_levels(len(latents), LEVELS, generator)
        noise = draw_noise(latents.shape, base.offset_noise, generator)
        noisy = add_noise(latents, noise, levels)
        predicted = predict_noise(
            base.models.unet, controlnet, noisy, levels, context, _pictures(found[part])
        )
        total += float(noise_error(predicted, noise, levels)) * len(latents)
    return total / len(frames)


def _pictures(found: NDArray[np.uint8]) -> Tensor:
    """Edges (N, H, W) uint8 as condition pictures (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(found).float().div(255).unsqueeze(1).expand(-1, 3, -1, -1)
