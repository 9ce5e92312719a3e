"""The set that the ControlNet learns from: the base model's own latents and captions, with the edges of the
frames that they were made of.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.conditions import edges
from mattebox_backend.pocket.checkpoint import fingerprint, write_atomically
from mattebox_backend.pocket.config import PocketSdConfig
from mattebox_backend.pocket.dataset import LatentSet, latent_set
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import DENOISER_SEEDS
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import sample_scene

_REPORT_EVERY = 4000


@dataclass(frozen=True, slots=True, eq=False)
class EdgeSet:
    """``frames``: latents and captions. ``edges``: (N, H, W / 8) uint8, eight pixels a byte."""

    frames: LatentSet
    edges: NDArray[np.uint8]

    def conditions(self, chosen: NDArray[np.int64]) -> torch.Tensor:
        """The condition pictures of some frames: (n, 3, H, W) float32, 0 or 1."""
        bits = np.unpackbits(self.edges[chosen], axis=-1)
        return torch.from_numpy(bits).float().unsqueeze(1).expand(-1, 3, -1, -1)


def edge_set(base: PocketSd, base_config: PocketSdConfig, count: int, work: Path) -> EdgeSet:
    """``count`` frames for a base model, made in ``work`` or read from there."""
    denoiser = base_config.denoiser.model_copy(update={"train_frames": count})
    config = base_config.model_copy(update={"denoiser": denoiser})
    return EdgeSet(latent_set(config, base.vae, base.tokenizer, work), _edges(config.size, count, work))


def _edges(size: int, count: int, work: Path) -> NDArray[np.uint8]:
    """The edges of the frames that `latent_set` renders, in its order."""
    mark = fingerprint("edges", size, count)
    mark_file, edges_file = work / "edges.json", work / "edges.npy"
    if mark_file.exists() and mark_file.read_text(encoding="utf-8") == mark:
        return np.asarray(np.load(edges_file), np.uint8)
    packed = np.empty((count, size, size // 8), np.uint8)
    log = RunLog(work / "progress.jsonl", "edges", count)
    for number in range(count):
        scene = sample_scene(DENOISER_SEEDS + number, width=size, height=size)
        frame = render_frame(scene, number % scene.frames)
        packed[number] = np.packbits(edges([frame])[0] > 0, axis=-1)
        if number % _REPORT_EVERY == 0:
            log.report(number + 1)
    buffer = io.BytesIO()
    np.save(buffer, packed)
    write_atomically(edges_file, buffer.getvalue())
    write_atomically(mark_file, mark.encode())
    return packed
