"""Solvers on the exact noise of Gaussian latents, whose path from noise to clean is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.controls.latent_blend import LatentBlend
from mattebox_backend.diffusion.control import (
    Branch,
    Control,
    Prediction,
    Run,
    SamplingPlan,
    Solver,
    Step,
)
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.sampler import SamplerState, sample, steps_of
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.masks import stack_regions

VARIANCE = 0.25
EULER, HEUN = SamplingPlan(), SamplingPlan(Solver.HEUN)


class Kept:
    """A checkpoint in memory that restores what it was given."""

    def __init__(self, state: SamplerState | None = None) -> None:
        self.state = state
        self.states: list[SamplerState] = []

    def restore(self) -> SamplerState | None:
        return self.state

    def keep(self, state: SamplerState) -> None:
        self.states.append(state)


def nothing(*_: Any) -> None:
    """A watcher that only watches."""


@pytest.fixture
def gaussian(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exact noise of latents of `VARIANCE` for a network; gives the timesteps it is asked for."""
    asked: list[int] = []

    def predict(self: Any, latents: torch.Tensor, timestep: int, *_: Any, **__: Any) -> torch.Tensor:
        asked.append(timestep)
        alpha = float(self.schedule.alphas[timestep])
        return latents * math.sqrt(1 - alpha) / (VARIANCE * alpha + 1 - alpha)

    monkeypatch.setattr(type(backbone), "predict", predict)
    return asked


def run_of(backbone: Any, steps: int, plan: SamplingPlan) -> Run:
    latents = np.random.default_rng(0).standard_normal((steps + 1, 1, 4, 4, 4)).astype(np.float16)
    masks = np.zeros((1, 32, 32), np.uint8)
    regions = stack_regions([Region("r", "a red circle", masks)])
    grid = backbone.schedule.grid(steps)
    return Run(Denoiser(backbone), grid, regions, Trajectory(latents), torch.Generator(), plan)


def sampled(backbone: Any, run: Run, *controls: Control, kept: Kept | None = None) -> torch.Tensor:
    return sample(run, backbone.embed("a red circle").states, controls, kept or Kept(), nothing)


def error(backbone: Any, steps: int, plan: SamplingPlan) -> float:
    """Relative error of a sampled run against `u ∝ √(s² + σ²)`, the solution of `du/dσ = ε`."""
    run = run_of(backbone, steps, plan)
    alphas = run.grid.alphas
    sigmas = [math.sqrt((1 - alpha) / alpha) for alpha in (alphas[-1], alphas[0])]
    first, last = (math.sqrt(VARIANCE + sigma**2) for sigma in sigmas)
    exact = run.trajectory.level(steps, backbone.device).double() * last / first
    exact *= math.sqrt(alphas[0] / alphas[-1])
    return float((sampled(backbone, run).double() - exact).norm() / exact.norm())


def test_heun_converges_with_the_square_of_the_steps_and_euler_with_the_steps(
    backbone: Any, gaussian: list[int]
) -> None:
    counts = (25, 50, 100, 200)
    orders = {}
    for plan in (EULER, HEUN):
        errors = [error(backbone, count, plan) for count in counts]
        orders[plan.solver] = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert orders[Solver.EULER] == pytest.approx(-1, abs=0.2)
    assert orders[Solver.HEUN] == pytest.approx(-2, abs=0.3)
    # Twice the evaluations of 25 steps of Heun are 50 of Euler.
    assert error(backbone, 25, HEUN) < error(backbone, 50, EULER) / 4


def test_heun_is_the_mean_of_the_slopes_at_both_ends_and_ends_with_euler(
    backbone: Any, gaussian: list[int]
) -> None:
    run = run_of(backbone, 4, HEUN)
    kept = Kept()
    sampled(backbone, run, kept=kept)
    t = run.grid.timesteps
    assert gaussian == [t[3], t[2], t[2], t[1], t[1], t[0], t[0]]
    alphas = run.grid.alphas
    x = run.trajectory.level(4, backbone.device).double()
    for level, state in zip((4, 3, 2, 1), kept.states, strict=True):
        here, there = alphas[level], alphas[level - 1]
        sigma, towards = math.sqrt((1 - here) / here), math.sqrt((1 - there) / there)

        def slope(u: torch.Tensor, at: float) -> torch.Tensor:
            return u * at / (VARIANCE + at**2)

        u = x / math.sqrt(here)
        k1 = slope(u, sigma)
        k2 = slope(u + (towards - sigma) * k1, towards) if level > 1 else k1
        x = math.sqrt(there) * (u + (towards - sigma) / 2 * (k1 + k2))
        torch.testing.assert_close(state.latents.double(), x, atol=1e-5, rtol=1e-5)


class Witness(Control):
    """Writes down which hook was called for which level."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def branches(self, run: Run) -> list[Branch]:
        states = run.backbone.embed("").states
        early = steps_of(run.grid, *run.picture_size)[1].felt_log_snr
        return [Branch("early", states, wanted=lambda step: step.felt_log_snr <= early)]

    def before_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        self.calls.append(("before", step.level))
        return latents

    def guide(self, prediction: Prediction, step: Step) -> torch.Tensor:
        self.calls.append(("guide", step.level))
        assert ("early" in prediction.branches) == (step.level >= 3)
        return prediction.noise

    def direct(self, direction: torch.Tensor, step: Step) -> torch.Tensor:
        self.calls.append(("direct", step.level))
        return direction

    def after_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        self.calls.append(("after", step.level))
        return latents


def test_controls_guide_both_predictions_of_a_step_and_are_asked_for_the_rest_once(
    backbone: Any, gaussian: list[int]
) -> None:
    witness = Witness()
    sampled(backbone, run_of(backbone, 4, HEUN), witness)
    expected = []
    for level in (4, 3, 2, 1):
        guides = [("guide", level), ("guide", level - 1)][: 2 if level > 1 else 1]
        expected += [("before", level), *guides, ("direct", level), ("after", level)]
    assert witness.calls == expected


@pytest.mark.parametrize("plan", [EULER, HEUN])
def test_a_resumed_run_gives_the_same_bits(backbone: Any, plan: SamplingPlan) -> None:
    kept = Kept()
    whole = sampled(backbone, run_of(backbone, 4, plan), LatentBlend(), kept=kept)
    resumed = sampled(backbone, run_of(backbone, 4, plan), LatentBlend(), kept=Kept(kept.states[1]))
    assert torch.equal(whole, resumed)


def test_it_begins_at_the_first_level_that_is_clean_enough(backbone: Any, gaussian: list[int]) -> None:
    run = run_of(backbone, 6, EULER)
    felt = [step.felt_log_snr for step in steps_of(run.grid, 4, 4)]
    begins: list[tuple[Callable[[], float], int]] = [
        (lambda: -math.inf, 6),
        (lambda: felt[0], 6),
        (lambda: (felt[1] + felt[2]) / 2, 4),
        (lambda: 1e9, 1),
    ]
    for begin, level in begins:
        gaussian.clear()
        kept = Kept()
        sampled(backbone, replace(run, plan=SamplingPlan(begin=begin())), kept=kept)
        assert gaussian == [run.grid.timesteps[n - 1] for n in range(level, 0, -1)]
        assert [state.done for state in kept.states] == list(range(7 - level, 7))
        alpha, there = run.grid.alphas[level], run.grid.alphas[level - 1]
        start = run.trajectory.level(level, backbone.device)
        noise = start * math.sqrt(1 - alpha) / (VARIANCE * alpha + 1 - alpha)
        first = math.sqrt(there) * (start - math.sqrt(1 - alpha) * noise) / math.sqrt(alpha)
        first = first + math.sqrt(1 - there) * noise
        torch.testing.assert_close(kept.states[0].latents, first, atol=1e-4, rtol=1e-4)


def test_a_part_of_a_picture_feels_the_noise_of_the_whole(backbone: Any, gaussian: list[int]) -> None:
    seen: list[Step] = []
    run = replace(run_of(backbone, 3, EULER), picture=(16, 16))
    sample(run, backbone.embed("").states, [], Kept(), lambda step, clean: seen.append(step))
    assert seen == list(steps_of(run.grid, 16, 16))
    assert seen != list(steps_of(run.grid, 4, 4))
