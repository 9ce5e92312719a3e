"""The sampler: DDIM down the grid, under controls, resumable at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from mattebox_backend.diffusion.control import EDIT_BRANCH, Branch, Control, Prediction, Question, Run, Step
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
    """Sample from the inverted latents of the noisiest level under the edit's text (L, C) and `controls`.

    Returns clean latents (F, C, h, w) float32. The backbone is left as it was found, whatever happens. The
    inspector changes no bit of them.
    """
    try:
        edit = Branch(EDIT_BRANCH, text)
        branches = (edit, *(branch for control in controls for branch in control.branches(run)))
        for control in controls:
            control.prepare(run)
        state = checkpoint.restore()
        if state is None:
            latents, done = run.trajectory.level(run.grid.steps, run.backbone.device), 0
        else:
            latents, done = state.latents.to(run.backbone.device.torch), state.done
            run.generator.set_state(state.generator)
        for step in steps_of(run.grid, *run.latent_size)[done:]:
            latents, clean = _advance(run, branches, controls, latents, step, inspector)
            checkpoint.keep(SamplerState(step.index + 1, latents, run.generator.get_state()))
            watch(step, clean)
        return latents
    finally:
        for control in controls:
            control.close()


def steps_of(grid: Grid, latent_height: int, latent_width: int) -> tuple[Step, ...]:
    """The steps from the noisiest level to the clean one."""
    steps = []
    for index in range(grid.steps):
        level = grid.steps - index
        felt = felt_log_snr(grid.log_snr(level), latent_height, latent_width)
        steps.append(Step(index, grid.steps, level, grid.timesteps[level - 1], felt, reference_time(felt)))
    return tuple(steps)


def _advance(
    run: Run,
    branches: Sequence[Branch],
    controls: Sequence[Control],
    latents: torch.Tensor,
    step: Step,
    inspector: Inspector | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The latents after one step, and the clean latents that its prediction implies."""
    for control in controls:
        latents = control.before_step(latents, step)
    question = _question(branches, latents, step)
    noises = run.denoiser.predict(question.latents, step.timestep, question.text, question.branches)
    by_name = dict(zip(question.branches, noises, strict=True))
    prediction = Prediction(by_name, by_name[EDIT_BRANCH])
    for control in controls:
        prediction = replace(prediction, noise=control.guide(prediction, step))
    noise = direction = prediction.noise
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


def stack_texts(texts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Text states of branches, (L, C) or per frame (F, L, C), as one tensor: (B, L, C), or (B, F, L, C) where
    any branch has one per frame.
    """
    frames = next((len(text) for text in texts if text.ndim == 3), None)
    if frames is None:
        return torch.stack(list(texts))
    return torch.stack([text if text.ndim == 3 else text.expand(frames, -1, -1) for text in texts])
