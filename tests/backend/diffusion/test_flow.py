"""Flow matching's levels, against what diffusers' own scheduler does."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from mattebox_backend.device import Device
from mattebox_backend.diffusion.flow import FlowSchedule, NoiseLine, shifted

CPU = Device("cpu", 0, "float32")


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_the_steps_are_those_of_diffusers_scheduler(shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    sigmas = [1 - step / 10 for step in range(10)]
    scheduler.set_timesteps(sigmas=sigmas)
    grid = FlowSchedule.of(dict(scheduler.config)).grid(10, shift)
    ours = [grid.sigmas[level] for level in range(10, -1, -1)]
    assert ours == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)
    assert [grid.timesteps[level - 1] for level in range(10, 0, -1)] == pytest.approx(
        scheduler.timesteps.tolist(), abs=0.5
    )
    latents, velocity = torch.randn(2, 3), torch.randn(2, 3)
    theirs = scheduler.step(velocity, scheduler.timesteps[0], latents, return_dict=False)[0]
    assert torch.allclose(grid.move(latents, velocity, 10, 9), theirs, atol=1e-6)


def test_wans_own_scheduler_calls_its_shift_otherwise() -> None:
    assert FlowSchedule.of({"flow_shift": 3.0, "num_train_timesteps": 1000}).shift == 3.0
    assert FlowSchedule.of({}).shift == 1.0


def test_a_line_to_noise_is_walked_both_ways() -> None:
    grid = FlowSchedule().grid(8, 5.0)
    clean, noise = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    line = NoiseLine(grid, noise, clean)
    velocity = noise - clean
    for level in range(grid.steps + 1):
        at = line.level(level, CPU)
        sigma = grid.sigmas[level]
        assert torch.allclose(at, (1 - sigma) * clean + sigma * noise)
        assert torch.allclose(grid.clean(at, velocity, level), clean, atol=1e-5)
        assert torch.allclose(grid.move(at, velocity, level, 0), clean, atol=1e-5)
        assert grid.spread(level) == sigma
    assert torch.equal(line.level(grid.steps, CPU), noise)
    assert grid.log_snr(4) == pytest.approx(2 * math.log((1 - grid.sigmas[4]) / grid.sigmas[4]))


def test_a_line_whose_clip_is_not_known_has_but_one_end() -> None:
    grid = FlowSchedule().grid(4, 1.0)
    line = NoiseLine(grid, torch.zeros(1, 2, 3, 4))
    assert line.shape == (1, 2, 3, 4)
    line.level(4, CPU)
    with pytest.raises(ValueError, match="Level 0"):
        line.level(0, CPU)


def test_the_shift_keeps_both_ends() -> None:
    assert shifted(0.0, 5.0) == 0
    assert shifted(1.0, 5.0) == 1
    assert shifted(0.5, 5.0) == pytest.approx(5 * 0.5 / (1 + 4 * 0.5))
