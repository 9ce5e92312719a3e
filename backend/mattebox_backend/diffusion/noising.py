"""The source under noise: where sampling may begin instead of from an inversion (region-of-interest-aware
diffusion, eq. 5.18).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mattebox_backend.diffusion.schedule import Grid
from mattebox_backend.diffusion.trajectory import Trajectory


def noised(clean: torch.Tensor, grid: Grid, generator: torch.Generator, file: Path) -> Trajectory:
    """`√ᾱ·x_0 + √(1 − ᾱ)·ε` of every level, with one ε for all, written to `file` and mapped from there.

    clean: (F, C, h, w). It costs no prediction. Level 0 is the clean latents themselves. `InvariantRegion`
    draws the same ε where its run begins from the same seed, so that what it sets around the regions lies on
    the line on which sampling began.
    """
    noise = torch.randn(clean.shape, generator=generator)
    source = clean.cpu().float()
    levels = np.lib.format.open_memmap(file, "w+", np.float16, (grid.steps + 1, *clean.shape))
    for level in range(grid.steps + 1):
        levels[level] = grid.noised(source, noise, level).numpy()
    levels.flush()
    return Trajectory(levels)
