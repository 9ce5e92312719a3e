"""Pivotal inversion with null-text embeddings, one for all frames or one for each (VideoDirector, section 3.2
and algorithm I, stage 1; Mokady et al., 2023).

The way down from DDIM's noise is corrected, step by step, until it runs along the inverted trajectory: the
embedding of the empty prompt is optimised so that guided denoising from z̄_t ends at z*_{t−1}.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from mattebox_backend.diffusion.checkpoint import StateFile
from mattebox_backend.diffusion.control import Step
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.pivots import Pivots, PivotStore
from mattebox_backend.diffusion.sampler import SamplerState, steps_of
from mattebox_backend.diffusion.schedule import Grid
from mattebox_backend.diffusion.trajectory import Trajectory

NULL_BRANCH = "null text"
_ENOUGH, _ENOUGH_MORE = 1e-5, 2e-5
"""A fit is good enough at this loss, and at so much more with every level (Mokady et al.)."""


@dataclass(frozen=True, slots=True)
class PivotalPlan:
    """inner_steps: of Adam per noise level, at most. rate: its learning rate at the first; at level i of N
    it is `rate·(1 − i/2N)`. per_frame: an embedding for every frame (multi-frame null text) instead of one
    for all. scale: of classifier-free guidance. until: guidance is applied up to this log-SNR, as felt at
    512².
    """

    inner_steps: int
    rate: float
    per_frame: bool
    scale: float
    until: float


class Conditional(Protocol):
    """The prediction under the source's prompt, and the guidance that comes with it."""

    def __call__(
        self, latents: torch.Tensor, reference: torch.Tensor, step: Step
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise and guidance G (both (F, C, h, w)) for latents z̄_t, held against the inverted z*_t."""
        ...


@torch.no_grad()
def find_pivots(
    denoiser: Denoiser,
    grid: Grid,
    trajectory: Trajectory,
    empty: torch.Tensor,
    plan: PivotalPlan,
    conditional: Conditional,
    picture_size: tuple[int, int],
    store: PivotStore,
    digest: str,
    work: Path,
    progress: Callable[[int, int], None],
) -> Pivots:
    """The pivots of a trajectory, and their place in `store`.

    empty: (L, C), states of the empty prompt, where embeddings begin; each level goes on from the one before
    it. picture_size: latent height and width that noise levels are felt at. `work` is the job's own folder:
    an interrupted search goes on from there and ends in the same bits. `progress(step, of)` is told after
    every step and may raise to stop.

    Backbone passes per level: those of `conditional`, and one (forward and backward) per inner step.
    """
    device = denoiser.backbone.device
    frames = trajectory.shape[0]
    shape = (frames if plan.per_frame else 1, *empty.shape)
    draft = work / "pivots"
    checkpoint = StateFile(work / "pivots.npz", digest, grid.steps)
    state = checkpoint.restore()
    pivots = Pivots.open(draft, grid.steps, write=True) if state is not None else None
    if state is None or pivots is None:
        latents, done = trajectory.level(grid.steps, device), 0
        pivots = Pivots.create(draft, grid.steps, trajectory.shape, shape)
        pivots.latents[grid.steps] = latents.cpu().numpy()
        embedding = empty.float().expand(shape).clone()
    else:
        latents, done = state.latents.to(device.torch), state.done
        embedding = torch.from_numpy(pivots.embeddings[grid.steps - done].copy()).to(device.torch)
    for step in steps_of(grid, *picture_size)[done:]:
        noise, guidance = conditional(latents, trajectory.level(step.level, device), step)
        target = trajectory.level(step.level - 1, device)
        if step.felt_log_snr <= plan.until and plan.scale != 1:
            embedding, noise = _optimise(
                denoiser, grid, latents, noise, guidance, target, embedding, plan, step
            )
        latents = descend(grid, latents, noise, guidance, step.level)
        pivots.embeddings[step.level - 1] = embedding.cpu().numpy()
        pivots.guidance[step.level - 1] = guidance.cpu().numpy()
        pivots.latents[step.level - 1] = latents.cpu().numpy()
        pivots.flush()
        checkpoint.keep(SamplerState(step.index + 1, latents, torch.empty(0, dtype=torch.uint8)))
        progress(step.index + 1, grid.steps)
    del pivots
    found = store.add(digest, draft, grid.steps)
    checkpoint.file.unlink(missing_ok=True)
    return found


def descend(
    grid: Grid, latents: torch.Tensor, noise: torch.Tensor, guidance: torch.Tensor, level: int
) -> torch.Tensor:
    """One step down with decoupled guidance in the direction term: `ε̄ = ε̂ − √(1 − ᾱ_t)·G` (algorithm I, lines
    13 and 14).
    """
    direction = noise - math.sqrt(1 - grid.alphas[level]) * guidance
    return grid.move(latents, noise, level, level - 1, direction)


def _optimise(
    denoiser: Denoiser,
    grid: Grid,
    latents: torch.Tensor,
    conditional: torch.Tensor,
    guidance: torch.Tensor,
    target: torch.Tensor,
    embedding: torch.Tensor,
    plan: PivotalPlan,
    step: Step,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The embedding (f, L, C) whose guided step ends nearest to `target`, and the guided noise under it."""

    def guided(states: torch.Tensor) -> torch.Tensor:
        text = states.expand(len(latents), -1, -1).unsqueeze(0)
        away = denoiser.predict(latents.unsqueeze(0), step.timestep, text, [NULL_BRANCH])[0]
        return away + plan.scale * (conditional - away)

    enough = _ENOUGH + _ENOUGH_MORE * step.index
    embedding = embedding.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([embedding], lr=plan.rate * (1 - step.index / (2 * step.of)))
    for _ in range(plan.inner_steps):
        with torch.enable_grad():
            noise = guided(embedding)
            loss = (descend(grid, latents, noise, guidance, step.level) - target).square().mean()
        if float(loss.detach()) < enough:
            # This very embedding is good enough: its noise needs no further pass.
            return embedding.detach(), noise.detach()
        (embedding.grad,) = torch.autograd.grad(loss, [embedding])
        optimizer.step()
    return embedding.detach(), guided(embedding.detach())
