"""The source under noise, level by level, against eq. 5.18."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mattebox_backend.controls.invariant_region import InvariantRegion
from mattebox_backend.diffusion.control import Run
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.noising import noised
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.edit import Region
from mattebox_backend.masks import stack_regions


def generator(seed: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_level_is_the_source_under_its_share_of_one_noise(backbone: Any, tmp_path: Path) -> None:
    clean = torch.randn(1, 4, 5, 7, generator=generator(1))
    grid = backbone.schedule.grid(4)
    trajectory = noised(clean, grid, generator(), tmp_path / "noised.npy")
    noise = torch.randn(1, 4, 5, 7, generator=generator()).double().numpy()
    assert trajectory.shape == (1, 4, 5, 7)
    np.testing.assert_allclose(trajectory.latents[0], clean.numpy(), atol=2e-3)
    for level in range(1, 5):
        alpha = grid.alphas[level]
        expected = math.sqrt(alpha) * clean.double().numpy() + math.sqrt(1 - alpha) * noise
        np.testing.assert_allclose(trajectory.latents[level], expected, atol=2e-3)
    other = noised(clean, grid, generator(5), tmp_path / "other.npy")
    assert not np.array_equal(other.latents[4], trajectory.latents[4])


def test_an_invariant_region_keeps_to_the_line_on_which_sampling_began(backbone: Any, tmp_path: Path) -> None:
    grid = backbone.schedule.grid(4)
    trajectory = noised(torch.zeros(1, 4, 8, 8) + 0.5, grid, generator(), tmp_path / "noised.npy")
    regions = stack_regions([Region("r", "x", np.zeros((1, 64, 64), np.uint8))])
    run, control = Run(Denoiser(backbone), grid, regions, trajectory, generator()), InvariantRegion()
    control.prepare(run)
    for step in steps_of(grid, 8, 8):
        found = control.after_step(torch.zeros(1, 4, 8, 8), step)
        expected = trajectory.level(step.level - 1, backbone.device)
        torch.testing.assert_close(found, expected, atol=4e-3, rtol=4e-3)
