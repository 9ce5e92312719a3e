"""DDIM inversion: the noise that the sampler would turn back into the source (Song et al.; methods.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mattebox_backend.diffusion.checkpoint import EVERY, StateFile
from mattebox_backend.diffusion.control import SOURCE_BRANCH
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.sampler import SamplerState
from mattebox_backend.diffusion.schedule import Grid
from mattebox_backend.diffusion.trajectory import Trajectory, TrajectoryKey, TrajectoryStore


@torch.no_grad()
def invert(
    denoiser: Denoiser,
    grid: Grid,
    key: TrajectoryKey,
    encode: Callable[[], torch.Tensor],
    store: TrajectoryStore,
    work: Path,
    progress: Callable[[int, int], None],
) -> Trajectory:
    """The whole trajectory from the clean latents up the grid, and its place in `store`.

    Guidance 1 means one branch: the prompt of `key` and nothing beside it. `encode` gives the clean latents
    (F, C, h, w) and is only called when nothing can be resumed. `work` is the job's own folder: an
    interrupted inversion goes on from there and ends in the same bits. `progress(step, of)` is told after
    every step and may raise to stop.
    """
    backbone = denoiser.backbone
    work.mkdir(parents=True, exist_ok=True)
    file = work / "inversion.npy"
    checkpoint = StateFile(work / "inversion.npz", key.digest(), grid.steps)
    state = checkpoint.restore()
    kept = _open_kept(file, grid) if state is not None else None
    if state is None or kept is None:
        latents, done = encode(), 0
        kept = _create(file, (grid.steps + 1, *latents.shape))
        kept[0] = latents.cpu().numpy()
    else:
        latents, done = state.latents.to(backbone.device.torch), state.done
    text = backbone.embed(key.prompt).states
    for level in range(done, grid.steps):
        noise = denoiser.predict(
            latents.unsqueeze(0), grid.timesteps[level], text.unsqueeze(0), [SOURCE_BRANCH]
        )[0]
        latents = grid.move(latents, noise, level, level + 1)
        kept[level + 1] = latents.cpu().numpy()
        if (level + 1) % EVERY == 0:
            kept.flush()
        checkpoint.keep(SamplerState(level + 1, latents, torch.empty(0, dtype=torch.uint8)))
        progress(level + 1, grid.steps)
    kept.flush()
    del kept
    trajectory = store.add(key, file)
    checkpoint.file.unlink(missing_ok=True)
    return trajectory


def _create(file: Path, shape: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.float16]]:
    kept = np.lib.format.open_memmap(file, "w+", np.float16, shape)
    if hasattr(os, "posix_fallocate"):
        # A mapped file has holes: unless its blocks are set aside, a full disk kills the process by a signal.
        with file.open("rb+") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return kept


def _open_kept(file: Path, grid: Grid) -> np.memmap[tuple[int, ...], np.dtype[np.float16]] | None:
    try:
        kept = np.lib.format.open_memmap(file, "r+")
    except (OSError, ValueError):
        return None
    return kept if len(kept) == grid.steps + 1 and os.access(file, os.W_OK) else None
