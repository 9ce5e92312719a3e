"""One grid for both directions, and noise levels that mean the same at every size."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.diffusion.schedule import Grid, NoiseSchedule, felt_log_snr, reference_time
from mattebox_backend.methods.st_modulator_parameters import StModulatorParameters


def scheduler(prediction: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )


def grid(steps: int = 50) -> Grid:
    return NoiseSchedule.of(scheduler()).grid(steps)


def test_the_grid_is_stable_diffusions_own_from_clean_upwards() -> None:
    fifty = grid()
    assert fifty.timesteps[:2] == (1, 21)
    assert fifty.timesteps[-1] == 981
    assert len(fifty.alphas) == 51
    assert list(fifty.alphas) == sorted(fifty.alphas, reverse=True)


def test_a_grid_of_as_many_steps_as_there_are_levels_stays_within_them() -> None:
    whole = grid(1000)
    assert whole.timesteps == tuple(range(1000))
    assert len(set(whole.alphas[1:])) == 1000


def test_a_step_down_is_the_schedulers_own_step() -> None:
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 1, 4, 8, 8)
    reference = scheduler()
    reference.set_timesteps(50)
    for level in (50, 20, 1):
        expected = reference.step(noise, grid().timesteps[level - 1], latents, eta=0.0).prev_sample
        torch.testing.assert_close(
            grid().move(latents, noise, level, level - 1), expected, atol=1e-5, rtol=1e-5
        )


def test_up_and_down_the_same_grid_cancel_exactly() -> None:
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 1, 4, 8, 8)
    up = grid(10).move(latents, noise, 3, 4)
    torch.testing.assert_close(grid(10).move(up, noise, 4, 3), latents, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_type_means_the_same_noise(prediction: str) -> None:
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 1, 4, 8, 8)
    schedule = NoiseSchedule.of(scheduler(prediction))
    alpha = float(schedule.alphas[400])
    signal, spread = math.sqrt(alpha), math.sqrt(1 - alpha)
    noisy = signal * clean + spread * noise
    output = {"epsilon": noise, "v_prediction": signal * noise - spread * clean, "sample": clean}[prediction]
    torch.testing.assert_close(schedule.noise(output, noisy, 400), noise, atol=1e-5, rtol=1e-5)


def test_the_default_window_is_the_first_fifteen_of_fifty_steps_at_512() -> None:
    window = StModulatorParameters().window
    inside = [step.index for step in steps_of(grid(), 64, 64) if step.felt_log_snr <= window]
    assert inside == list(range(15))


def test_the_window_is_a_noise_level_not_a_number_of_steps() -> None:
    window = StModulatorParameters().window
    share = {
        steps: sum(step.felt_log_snr <= window for step in steps_of(grid(steps), 64, 64)) / steps
        for steps in (20, 50, 100)
    }
    assert all(value == pytest.approx(0.3, abs=0.05) for value in share.values())


def test_small_latents_feel_more_noise_so_the_window_reaches_further() -> None:
    window = StModulatorParameters().window
    inside = [step.index for step in steps_of(grid(), 16, 16) if step.felt_log_snr <= window]
    assert 0.6 <= len(inside) / 50 <= 0.8
    assert felt_log_snr(1.0, 32, 32) == pytest.approx(1.0 - 2 * math.log(2))
    assert felt_log_snr(1.0, 64, 64) == 1.0
    assert felt_log_snr(1.0, 32, 128) == 1.0, "what counts is the number of cells"


def test_the_time_of_a_step_is_that_of_stable_diffusion_at_the_same_felt_noise() -> None:
    for step in steps_of(grid(), 64, 64):
        assert step.time == pytest.approx(step.timestep / 1000, abs=0.002)
    small = steps_of(grid(), 16, 16)
    assert all(a.time >= b.timestep / 1000 - 0.002 for a, b in zip(small, small, strict=True))
    assert reference_time(-1000) == 0.999
    assert reference_time(1000) == 0
