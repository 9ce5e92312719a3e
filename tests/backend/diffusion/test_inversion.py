"""Inversion and sampling on a tiny model: what goes up comes down, and nothing is kept half-written."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.controls.guidance import ClassifierFreeGuidance
from mattebox_backend.controls.latent_blend import LatentBlend
from mattebox_backend.diffusion.control import Control, Prediction, Run, Step
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.inversion import invert
from mattebox_backend.diffusion.sampler import SamplerState, sample, steps_of
from mattebox_backend.diffusion.trajectory import Trajectory, TrajectoryKey, TrajectoryStore
from mattebox_backend.edit import Region
from mattebox_backend.masks import stack_regions

STEPS = 6


@dataclass
class Forgetful:
    """A checkpoint that keeps every state in memory and never restores one."""

    states: list[SamplerState] = field(default_factory=list)

    def restore(self) -> SamplerState | None:
        return None

    def keep(self, state: SamplerState) -> None:
        self.states.append(state)


def key_of(backbone: Any, prompt: str = "a red circle", start: int = 0) -> TrajectoryKey:
    timesteps = backbone.schedule.grid(STEPS).timesteps
    return TrajectoryKey(
        "clip", start, start + 2, 64, 64, backbone.identity, prompt, timesteps, "all", None, "cpu", "float32"
    )


def clean_latents() -> torch.Tensor:
    return 0.5 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))


def nothing(*_: Any) -> None:
    """A watcher that only watches."""


@pytest.fixture
def inverted(backbone: Any, tmp_path: Path) -> Callable[[], Trajectory]:
    def run() -> Trajectory:
        store = TrajectoryStore(tmp_path / "cache")
        return invert(
            Denoiser(backbone),
            backbone.schedule.grid(STEPS),
            key_of(backbone),
            clean_latents,
            store,
            tmp_path / "job",
            nothing,
        )

    return run


def run_of(backbone: Any, trajectory: Trajectory, masks: Any = None) -> Run:
    masks = np.zeros((2, 64, 64), np.uint8) if masks is None else masks
    regions = stack_regions([Region("r", "a red circle", masks)])
    generator = torch.Generator().manual_seed(0)
    return Run(Denoiser(backbone), backbone.schedule.grid(STEPS), regions, trajectory, generator)


def test_the_trajectory_begins_with_the_clean_latents_and_follows_the_grid(
    backbone: Any, inverted: Any
) -> None:
    trajectory = inverted()
    grid = backbone.schedule.grid(STEPS)
    assert trajectory.latents.shape == (STEPS + 1, 2, 4, 8, 8)
    torch.testing.assert_close(trajectory.level(0, backbone.device), clean_latents(), atol=1e-3, rtol=1e-3)
    text = backbone.embed("a red circle").states.unsqueeze(0)
    # Level 3 → 4 is predicted at the very timestep at which the sampler will go from 4 to 3.
    here = trajectory.level(3, backbone.device)
    noise = backbone.predict(here.unsqueeze(0), grid.timesteps[3], text, ["source"])[0]
    torch.testing.assert_close(
        trajectory.level(4, backbone.device), grid.move(here, noise, 3, 4), atol=5e-3, rtol=5e-3
    )


def test_sampling_under_the_source_prompt_comes_back_to_the_source(
    backbone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the exact noise of Gaussian latents for a network; two different grids miss by far more."""

    def gaussian(self: Any, latents: torch.Tensor, timestep: int, *_: Any, **__: Any) -> torch.Tensor:
        alpha = float(self.schedule.alphas[timestep])
        return latents * math.sqrt(1 - alpha) / (0.25 * alpha + 1 - alpha)

    monkeypatch.setattr(type(backbone), "predict", gaussian)
    grid = backbone.schedule.grid(50)
    key = replace(key_of(backbone), timesteps=grid.timesteps)
    store = TrajectoryStore(tmp_path / "cache")
    trajectory = invert(Denoiser(backbone), grid, key, clean_latents, store, tmp_path / "job", nothing)
    run = replace(run_of(backbone, trajectory), grid=grid)
    result = sample(run, backbone.embed("a red circle").states, [], Forgetful(), nothing)
    error = (result - clean_latents()).square().mean().sqrt()
    assert error < 0.05 * clean_latents().std(), "inversion and sampling do not share their grid"


def test_outside_the_regions_each_level_is_the_inverted_latent_of_that_level(
    backbone: Any, inverted: Any
) -> None:
    trajectory = inverted()
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[:, :, :32] = 255
    run = run_of(backbone, trajectory, masks)
    blend, states = LatentBlend(), Forgetful()
    text = backbone.embed("a blue square").states
    empty = backbone.embed("").states
    result = sample(run, text, [ClassifierFreeGuidance("away", empty, 5.0), blend], states, nothing)
    for state in states.states:
        level = trajectory.level(STEPS - state.done, backbone.device)
        assert torch.equal(state.latents[..., 4:], level[..., 4:]), "blended with the noise of another level"
        assert not torch.equal(state.latents[..., :4], level[..., :4])
    assert torch.equal(result[..., 4:], trajectory.level(0, backbone.device)[..., 4:]), (
        "noise was left behind"
    )


class Recorder(Control):
    """Keeps every prediction that it is shown, and the step of each."""

    def __init__(self) -> None:
        self.seen: list[tuple[Step, Prediction]] = []

    def guide(self, prediction: Prediction, step: Step) -> torch.Tensor:
        self.seen.append((step, prediction))
        return prediction.noise


def test_guidance_is_the_standard_formula_and_the_negative_prompt_reaches_the_model(backbone: Any) -> None:
    grid = backbone.schedule.grid(STEPS)
    trajectory = Trajectory(np.random.default_rng(0).normal(size=(STEPS + 1, 2, 4, 8, 8)).astype(np.float16))
    recorder = Recorder()
    text, negative = backbone.embed("a red circle").states, backbone.embed("a green hat").states
    sample(
        run_of(backbone, trajectory),
        text,
        [ClassifierFreeGuidance("away", negative, 3.0), recorder],
        Forgetful(),
        nothing,
    )
    _, first = recorder.seen[0]
    conditional, unconditional = first.branches["edit"], first.branches["away"]
    torch.testing.assert_close(first.noise, unconditional + 3.0 * (conditional - unconditional))
    latents = trajectory.level(STEPS, backbone.device).unsqueeze(0)
    alone = backbone.predict(latents, grid.timesteps[-1], negative.unsqueeze(0), ["negative"])[0]
    torch.testing.assert_close(unconditional, alone, atol=1e-5, rtol=1e-5)


def test_past_its_window_guidance_asks_for_nothing(backbone: Any) -> None:
    trajectory = Trajectory(np.random.default_rng(0).normal(size=(STEPS + 1, 2, 4, 8, 8)).astype(np.float16))
    text, negative = backbone.embed("a red circle").states, backbone.embed("").states
    levels = [step.felt_log_snr for step in steps_of(backbone.schedule.grid(STEPS), 8, 8)]
    guidance, recorder = ClassifierFreeGuidance("away", negative, 3.0, until=levels[2]), Recorder()
    sample(run_of(backbone, trajectory), text, [guidance, recorder], Forgetful(), nothing)
    guided = ["away" in prediction.branches for _, prediction in recorder.seen]
    assert guided == [True, True, True, False, False, False]
    for _, prediction in recorder.seen[3:]:
        assert torch.equal(prediction.noise, prediction.branches["edit"])


def test_two_guidances_over_neighbouring_intervals_take_turns(backbone: Any) -> None:
    trajectory = Trajectory(np.random.default_rng(0).normal(size=(STEPS + 1, 2, 4, 8, 8)).astype(np.float16))
    text, empty = backbone.embed("a red circle").states, backbone.embed("").states
    source = backbone.embed("a green hat").states
    level = steps_of(backbone.schedule.grid(STEPS), 8, 8)[1].felt_log_snr
    early = ClassifierFreeGuidance("source", source, 2.0, until=level)
    late = ClassifierFreeGuidance("empty", empty, 5.0, above=level)
    recorder = Recorder()
    sample(run_of(backbone, trajectory), text, [early, late, recorder], Forgetful(), nothing)
    assert [sorted(prediction.branches) for _, prediction in recorder.seen] == (
        [["edit", "source"]] * 2 + [["edit", "empty"]] * (STEPS - 2)
    )
    for _, prediction in recorder.seen:
        away, scale = ("source", 2.0) if "source" in prediction.branches else ("empty", 5.0)
        edit, other = prediction.branches["edit"], prediction.branches[away]
        torch.testing.assert_close(prediction.noise, other + scale * (edit - other))


def test_controls_are_closed_whatever_happens(backbone: Any, inverted: Any) -> None:
    class Faulty(Control):
        closed = 0

        def prepare(self, run: Run) -> None:
            raise RuntimeError("cannot prepare")

        def close(self) -> None:
            Faulty.closed += 1

    blend = LatentBlend()
    with pytest.raises(RuntimeError, match="cannot prepare"):
        sample(
            run_of(backbone, inverted()), backbone.embed("").states, [Faulty(), blend], Forgetful(), nothing
        )
    assert Faulty.closed == 1


def test_a_key_tells_apart_all_that_matters(backbone: Any) -> None:
    assert key_of(backbone).digest() == key_of(backbone).digest()
    assert key_of(backbone).digest() != key_of(backbone, prompt="a blue circle").digest()
    assert key_of(backbone).digest() != key_of(backbone, start=1).digest()


def test_a_damaged_entry_is_not_used_and_gone(backbone: Any, inverted: Any, tmp_path: Path) -> None:
    inverted()
    store, key = TrajectoryStore(tmp_path / "cache"), key_of(backbone)
    assert store.find(key) is not None
    latents = tmp_path / "cache" / key.digest() / "latents.npy"
    latents.write_bytes(latents.read_bytes()[:200])
    assert store.find(key) is None
    assert not latents.exists()


def test_a_full_disk_leaves_no_entry_and_no_draft(
    backbone: Any, inverted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        inverted()
    assert list((tmp_path / "cache").glob("*")) == [] if (tmp_path / "cache").exists() else True
