"""The set that the denoiser learns from: latents of rendered frames, each with captions in several forms,
encoded once.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from transformers import CLIPTokenizer

from mattebox_backend.pocket.checkpoint import fingerprint, write_atomically
from mattebox_backend.pocket.config import PocketSdConfig
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import DENOISER_SEEDS
from mattebox_backend.pocket.text import token_ids
from mattebox_backend.pocket.vae import to_pixels
from mattebox_backend.world.captions import CaptionForm, caption
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import sample_scene
from mattebox_backend.world.scene import Scene

CAPTION_FORMS = (
    CaptionForm.FULL,
    CaptionForm.FULL,
    CaptionForm.OBJECTS,
    CaptionForm.OBJECTS,
    CaptionForm.RELATION,
    CaptionForm.RELATION_FULL,
)
ENCODE_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class LatentSet:
    """``latents``: (N, 4, h, w) float16, scaled to unit variance. ``tokens``: (N, V, L) int16, V captions of
    each frame.
    """

    latents: NDArray[np.float16]
    tokens: NDArray[np.int16]


def latent_set(config: PocketSdConfig, vae: AutoencoderKL, tokenizer: CLIPTokenizer, work: Path) -> LatentSet:
    """Build the set in ``work``, or read it when it is there already for this configuration."""
    count = config.denoiser.train_frames
    mark = fingerprint("set", config.seed, config.size, config.vae.model_dump(), config.text.length, count)
    mark_file, latents_file, tokens_file = work / "set.json", work / "latents.npy", work / "tokens.npy"
    if mark_file.exists() and mark_file.read_text(encoding="utf-8") == mark:
        return LatentSet(np.load(latents_file), np.load(tokens_file))
    latents, tokens = [], []
    log = RunLog(work / "progress.jsonl", "set", count)
    for first in range(0, count, ENCODE_BATCH):
        numbers = range(first, min(count, first + ENCODE_BATCH))
        scenes = [sample_scene(DENOISER_SEEDS + n, width=config.size, height=config.size) for n in numbers]
        times = [n % scene.frames for n, scene in zip(numbers, scenes, strict=True)]
        frames = np.stack([render_frame(scene, time) for scene, time in zip(scenes, times, strict=True)])
        latents.append(encode_frames(vae, frames))
        for number, scene, time in zip(numbers, scenes, times, strict=True):
            words = captions_of(scene, time, (DENOISER_SEEDS, number))
            tokens.append(token_ids(tokenizer, words).numpy().astype(np.int16))
        if first % (ENCODE_BATCH * 40) == 0:
            log.report(first + len(numbers))
    result = LatentSet(np.concatenate(latents), np.stack(tokens))
    write_array(latents_file, result.latents)
    write_array(tokens_file, result.tokens)
    write_atomically(mark_file, mark.encode())
    return result


@torch.no_grad()
def encode_frames(vae: AutoencoderKL, frames: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Latents (N, 4, h, w), the mean of the encoder, of frames (N, H, W, 3)."""
    with torch.autocast("cpu", torch.bfloat16):
        mean = vae.encode(to_pixels(frames)).latent_dist.mean
    return np.asarray((mean.float() * vae.config.scaling_factor).numpy(), np.float16)


def captions_of(scene: Scene, time: int, seed: tuple[int, ...]) -> list[str]:
    """One caption per form, each naming the objects in an order of its own, which ``seed`` draws: only a
    relation may tell where things are.
    """
    rng = np.random.default_rng(seed)
    return [
        caption(scene, time, form, order=rng.permutation(len(scene.objects)).tolist())
        for form in CAPTION_FORMS
    ]


def write_array(path: Path, array: NDArray[np.generic]) -> None:
    """Put an array at ``path`` in NumPy's format, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_atomically(path, buffer.getvalue())
