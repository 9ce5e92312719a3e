"""Invariant-region sampling against eq. 8 written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from mattebox_backend.controls.invariant_region import InvariantRegion
from mattebox_backend.diffusion.control import Run
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.masks import stack_regions


def run_of(backbone: Any, seed: int = 5) -> Run:
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[0, :, :30] = 255  # 3¾ cells wide: the fourth is free as well; frame 1 holds nothing
    latents = np.random.default_rng(1).standard_normal((5, 2, 4, 8, 8)).astype(np.float16)
    return Run(
        Denoiser(backbone),
        backbone.schedule.grid(4),
        stack_regions([Region("r", "a red circle", masks)]),
        Trajectory(latents),
        torch.Generator().manual_seed(seed),
    )


def test_outside_the_regions_every_level_is_the_source_under_its_own_noise(backbone: Any) -> None:
    run, control = run_of(backbone), InvariantRegion()
    control.prepare(run)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5)).double()
    clean = torch.from_numpy(run.trajectory.latents[0].astype(np.float64))
    given = torch.full((2, 4, 8, 8), 7.0)
    for step in steps_of(run.grid, 8, 8):
        found = control.after_step(given, step)
        alpha = run.grid.alphas[step.level - 1]
        expected = clean if step.level == 1 else math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * noise
        torch.testing.assert_close(found[0, :, :, 4:].double(), expected[0, :, :, 4:], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(found[1].double(), expected[1], atol=1e-6, rtol=1e-6)
        assert (found[0, :, :, :4] == 7).all(), "the region was touched"
    control.close()


def test_the_noise_comes_from_the_seed(backbone: Any) -> None:
    step = steps_of(run_of(backbone).grid, 8, 8)[0]
    found = []
    for seed in (5, 5, 6):
        control = InvariantRegion()
        control.prepare(run_of(backbone, seed))
        found.append(control.after_step(torch.zeros(2, 4, 8, 8), step))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
