"""The set that motion is learnt from: latents of rendered clips, every frame with captions in several
forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mattebox_backend.pocket.checkpoint import fingerprint, write_atomically
from mattebox_backend.pocket.dataset import captions_of, encode_frames, write_array
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.motion.config import PocketMotionConfig
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import MOTION_SEEDS
from mattebox_backend.pocket.text import token_ids
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import DEFAULT_OPTIONS, SceneOptions, sample_scene
from mattebox_backend.world.scene import Scene

REPORT_EVERY = 50


@dataclass(frozen=True, slots=True, eq=False)
class ClipSet:
    """``latents``: (N, F, 4, h, w) float16, scaled to unit variance. ``tokens``: (N, V, F, L) int16, V
    captions of each clip, each as it is true of every frame: what blooms changes its colour, and what moves
    changes sides. mark: what it was made for.
    """

    latents: NDArray[np.float16]
    tokens: NDArray[np.int16]
    mark: str


def clip_set(config: PocketMotionConfig, base: PocketSd, base_identity: str, work: Path) -> ClipSet:
    """Build the set in ``work``, or read it when it is there already for this configuration and the base of
    this identity.
    """
    mark = fingerprint("clips", config.seed, config.clips, config.adapter.frames, base_identity)
    mark_file, latents_file, tokens_file = work / "clips.json", work / "clips.npy", work / "captions.npy"
    if mark_file.exists() and mark_file.read_text(encoding="utf-8") == mark:
        return ClipSet(np.load(latents_file), np.load(tokens_file), mark)
    latents, tokens = [], []
    log = RunLog(work / "progress.jsonl", "clips", config.clips)
    for number in range(config.clips):
        scene = sample_clip(base, MOTION_SEEDS + number, config.adapter.frames)
        latents.append(encode_frames(base.vae, clip_frames(scene)))
        tokens.append(_tokens(base, scene, number))
        if number % REPORT_EVERY == 0:
            log.report(number + 1)
    result = ClipSet(np.stack(latents), np.stack(tokens), mark)
    write_array(latents_file, result.latents)
    write_array(tokens_file, result.tokens)
    write_atomically(mark_file, mark.encode())
    return result


def sample_clip(base: PocketSd, seed: int, frames: int, options: SceneOptions = DEFAULT_OPTIONS) -> Scene:
    """The scene of ``seed`` at the size that ``base`` works at."""
    size = base.pixels
    return sample_scene(seed, options, width=size, height=size, frames=frames)


def clip_frames(scene: Scene) -> NDArray[np.uint8]:
    """All frames of a scene, (F, H, W, 3)."""
    return np.stack([render_frame(scene, time) for time in range(scene.frames)])


def _tokens(base: PocketSd, scene: Scene, number: int) -> NDArray[np.int16]:
    """(V, F, L): one order of naming the objects per caption, the same in every frame."""
    per_frame = [
        token_ids(base.tokenizer, captions_of(scene, time, (MOTION_SEEDS, number)))
        for time in range(scene.frames)
    ]
    return np.stack([ids.numpy().astype(np.int16) for ids in per_frame], axis=1)
