"""The set that the transformer learns from: latents of rendered clips, and of what is told of each."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from transformers import T5Tokenizer

from mattebox_backend.pocket.checkpoint import fingerprint, write_atomically
from mattebox_backend.pocket.dataset import captions_of, write_array
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import WAN_SEEDS
from mattebox_backend.pocket.wan.config import ConditionShares, PocketWanConfig
from mattebox_backend.pocket.wan.sight import Sight, load_sight
from mattebox_backend.pocket.wan.text import build_tokenizer, token_ids
from mattebox_backend.pocket.wan.vae import to_video
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import SceneOptions, sample_scene
from mattebox_backend.world.scene import Scene

REPORT_EVERY = 20
LIVELY = SceneOptions(blooms=0.15, panning=0.2, parts=0.2)
"""More that changes in a clip than the world has by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipSet:
    """latents, told: (N, T, 16, h, w) float16, normalised, of the clips and of what is told of them. known:
    (N, F) bool, the frames that are told. seen: (N, L, C) float16, the first frame as CLIP sees it. tokens:
    (N, V, L) int16, V captions of each first frame. mark: what it was made for.
    """

    latents: NDArray[np.float16]
    told: NDArray[np.float16]
    known: NDArray[np.bool_]
    seen: NDArray[np.float16]
    tokens: NDArray[np.int16]
    mark: str


def clip_set(config: PocketWanConfig, vae: AutoencoderKLWan, work: Path) -> ClipSet:
    """Build the set in ``work``, or read it when it is there already for this configuration."""
    mark = fingerprint(
        "wan-clips",
        config.seed,
        config.size,
        config.frames,
        config.clips,
        config.scorer,
        config.vae.model_dump(),
        config.conditions.model_dump(),
    )
    mark_file = work / "clips.json"
    files = {name: work / f"{name}.npy" for name in ("latents", "told", "known", "seen", "tokens")}
    if mark_file.exists() and mark_file.read_text(encoding="utf-8") == mark:
        return ClipSet(**{name: np.load(file) for name, file in files.items()}, mark=mark)
    rows: dict[str, list[NDArray[Any]]] = {name: [] for name in files}
    log = RunLog(work / "progress.jsonl", "clips", config.clips)
    with ProcessPoolExecutor(
        torch.get_num_threads(),  # a clip is too small to share among threads
        multiprocessing.get_context("spawn"),
        _begin,
        (config, vae),
    ) as workers:
        for number, row in enumerate(workers.map(_row, range(config.clips), chunksize=4)):
            for name, values in row.items():
                rows[name].append(values)
            if number % REPORT_EVERY == 0:
                log.report(number + 1)
    made = {name: np.stack(values) for name, values in rows.items()}
    for name, file in files.items():
        write_array(file, made[name])
    write_atomically(mark_file, mark.encode())
    return ClipSet(**made, mark=mark)


@dataclass(frozen=True, slots=True, eq=False)
class _Encoding:
    """What a process needs to make rows of the set."""

    config: PocketWanConfig
    vae: AutoencoderKLWan
    sight: Sight
    tokenizer: T5Tokenizer

    def row(self, number: int) -> dict[str, NDArray[Any]]:
        """What a set holds of one clip."""
        config = self.config
        scene = wan_scene(config, WAN_SEEDS + number)
        frames = clip_frames(scene)
        known = draw_known(config.conditions, config.frames, np.random.default_rng((config.seed, 4, number)))
        captions = captions_of(scene, 0, (WAN_SEEDS, number))
        return {
            "latents": encode(self.vae, frames),
            "told": encode(self.vae, frames, known),
            "known": known,
            "seen": self.sight.states(frames[:1])[0].numpy().astype(np.float16),
            "tokens": token_ids(self.tokenizer, captions).numpy().astype(np.int16),
        }


_encoding: _Encoding | None = None


def _begin(config: PocketWanConfig, vae: AutoencoderKLWan) -> None:
    global _encoding
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    _encoding = _Encoding(config, vae, load_sight(config.scorer), build_tokenizer())


def _row(number: int) -> dict[str, NDArray[Any]]:
    if _encoding is None:
        raise RuntimeError("A row is asked of a process that was not begun.")
    return _encoding.row(number)


def wan_scene(config: PocketWanConfig, seed: int) -> Scene:
    """The scene of ``seed`` at the size and length of the model."""
    return sample_scene(seed, LIVELY, width=config.size, height=config.size, frames=config.frames)


def clip_frames(scene: Scene) -> NDArray[np.uint8]:
    """All frames of a scene, (F, H, W, 3)."""
    return np.stack([render_frame(scene, time) for time in range(scene.frames)])


def draw_known(shares: ConditionShares, frames: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which frames of a clip are told, (F,): always the first."""
    known = np.zeros(frames, np.bool_)
    known[0] = True
    weights = np.array([shares.first, shares.beginning, shares.ends, shares.some])
    kind = int(rng.choice(4, p=weights / weights.sum()))
    if kind == 1:
        known[: int(rng.integers(2, frames // 2 + 1))] = True
    elif kind == 2:
        known[-1] = True
    elif kind == 3:
        known |= rng.random(frames) < rng.uniform(0.1, 0.9)
    return known


@torch.no_grad()
def encode(
    vae: AutoencoderKLWan, frames: NDArray[np.uint8], known: NDArray[np.bool_] | None = None
) -> NDArray[np.float16]:
    """Latents (T, 16, h, w) of a clip (F, H, W, 3), each channel of mean 0 and variance 1; of frames that are
    not ``known`` (F,), grey.
    """
    pixels = to_video(frames[None])
    if known is not None:
        pixels = pixels * torch.from_numpy(known).view(1, 1, -1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = vae.encode(pixels).latent_dist.mode().float()
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
    spread = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)
    return np.asarray(((found - mean) / spread)[0].transpose(0, 1).numpy(), np.float16)
