"""The sampler: DDIM, or its second-order relative, down the grid, under controls, resumable at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from mattebox_backend.diffusion.control import (
    EDIT_BRANCH,
    Branch,
    Control,
    Prediction,
    Question,
    Run,
    Solver,
    Step,
)
from mattebox_backend.diffusion.flow import FlowGrid
from mattebox_backend.diffusion.inspection import Inspector
from mattebox_backend.diffusion.schedule import Grid, felt_log_snr, reference_time


@dataclass(frozen=True, slots=True, eq=False)
class SamplerState:
    """Where a run stands after `done` steps: latents (F, C, h, w) float32, and the generator's state
    (uint8).
    """

    done: int
    latents: torch.Tensor
    generator: torch.Tensor


class SamplerCheckpoint(Protocol):
    """Keeps a run's state across a killed process."""

    def restore(self) -> SamplerState | None:
        """The last state that was kept, if any."""
        ...

    def keep(self, state: SamplerState) -> None:
        """Take note of a state; may skip some, never the last."""
        ...


Watcher = Callable[[Step, torch.Tensor], None]
"""Told after every step, with the clean latents that the step implies; may raise to stop the run."""


@torch.no_grad()
def sample(
    run: Run,
    text: torch.Tensor,
    controls: Sequence[Control],
    checkpoint: SamplerCheckpoint,
    watch: Watcher,
    inspector: Inspector | None = None,
) -> torch.Tensor:
    """Sample from the trajectory's latents at the level where the run's plan begins (the noisiest, unless it
    says otherwise), under the edit's text (L, C) and `controls`.

    Returns clean latents (F, C, h, w) float32. The backbone is left as it was found, whatever happens. The
    inspector changes no bit of them.
    """
    try:
        if inspector is not None:
            inspector.begin(run)
        edit = Branch(EDIT_BRANCH, text)
        branches = (edit, *(branch for control in controls for branch in control.branches(run)))
        for control in controls:
            control.prepare(run)
        steps = steps_of(run.grid, *run.picture_size)
        state = checkpoint.restore()
        if state is None:
            first = _first(steps, run.plan.begin)
            latents, done = run.trajectory.level(first.level, run.device), first.index
        else:
            latents, done = state.latents.to(run.device.torch), state.done
            run.generator.set_state(state.generator)
        for step in steps[done:]:
            following = steps[step.index + 1] if step.level > 1 else None
            latents, clean = _advance(run, branches, controls, latents, step, following, inspector)
            checkpoint.keep(SamplerState(step.index + 1, latents, run.generator.get_state()))
            watch(step, clean)
        return latents
    finally:
        for control in controls:
            control.close()


def steps_of(grid: Grid | FlowGrid, latent_height: int, latent_width: int) -> tuple[Step, ...]:
    """The steps from the noisiest level to the clean one."""
    steps = []
    for index in range(grid.steps):
        level = grid.steps - index
        felt = felt_log_snr(grid.log_snr(level), latent_height, latent_width)
        steps.append(Step(index, grid.steps, level, grid.timesteps[level - 1], felt, reference_time(felt)))
    return tuple(steps)


def _first(steps: Sequence[Step], begin: float) -> Step:
    """The first step at a level of at least `begin`; the last one where none is."""
    return next((step for step in steps if step.felt_log_snr >= begin), steps[-1])


def _advance(
    run: Run,
    branches: Sequence[Branch],
    controls: Sequence[Control],
    latents: torch.Tensor,
    step: Step,
    following: Step | None,
    inspector: Inspector | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The latents after one step, and the clean latents that its prediction implies."""
    for control in controls:
        latents = control.before_step(latents, step)
    question = _question(branches, latents, step)
    noise = _answer(run, question, controls, latents, step)
    if run.plan.solver is Solver.HEUN and following is not None:
        # DDIM is Euler's method in x/√ᾱ over σ, and linear in the noise: the mean of both slopes is Heun's.
        ahead = run.grid.move(latents, noise, step.level, step.level - 1)
        slope = _answer(run, _question(branches, ahead, following), controls, ahead, following)
        noise = (noise + slope) / 2
    direction = noise
    for control in controls:
        direction = control.direct(direction, step)
    clean = run.grid.clean(latents, noise, step.level)
    latents = run.grid.move(latents, noise, step.level, step.level - 1, direction)
    for control in controls:
        latents = control.after_step(latents, step)
    if inspector is not None and inspector.wants(step):
        inspector.look(run, question, step, controls)
    return latents, clean


def _question(branches: Sequence[Branch], latents: torch.Tensor, step: Step) -> Question:
    """What a step asks the backbone: every branch that it wants, in one call."""
    wanted = [branch for branch in branches if branch.wanted is None or branch.wanted(step)]
    inputs = [latents if branch.latents is None else branch.latents(step) for branch in wanted]
    texts = [branch.text if isinstance(branch.text, torch.Tensor) else branch.text(step) for branch in wanted]
    return Question(torch.stack(inputs), stack_texts(texts), tuple(branch.name for branch in wanted))


def _answer(
    run: Run, question: Question, controls: Sequence[Control], latents: torch.Tensor, step: Step
) -> torch.Tensor:
    """The noise to follow: every branch's in one call, then the controls' choice."""
    noises = run.denoiser.predict(question.latents, step.timestep, question.text, question.branches)
    by_name = dict(zip(question.branches, noises, strict=True))
    prediction = Prediction(by_name, by_name[EDIT_BRANCH], latents)
    for control in controls:
        prediction = replace(prediction, noise=control.guide(prediction, step))
    return prediction.noise


def stack_texts(texts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Text states of branches, (L, C) or per frame (F, L, C), as one tensor: (B, L, C), or (B, F, L, C) where
    any branch has one per frame.
    """
    frames = next((len(text) for text in texts if text.ndim == 3), None)
    if frames is None:
        return torch.stack(list(texts))
    return torch.stack([text if text.ndim == 3 else text.expand(frames, -1, -1) for text in texts])
