"""What steers sampling: the `Control` protocol, and what a control gets to see."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch

from mattebox_backend.backbones.protocol import Backbone
from mattebox_backend.device import Device
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.flow import FlowGrid, NoiseLine
from mattebox_backend.diffusion.schedule import Grid
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.diffusion.video_denoiser import ConditionedVideo
from mattebox_backend.masks import RegionStack

EDIT_BRANCH = "edit"
SOURCE_BRANCH = "source"
"""Predicts under the source's own prompt."""


class Solver(StrEnum):
    """How a step follows the predicted noise, as the slope of `x/√ᾱ` against `σ = √((1 − ᾱ)/ᾱ)`."""

    EULER = "euler"
    """One prediction a step: DDIM (Song et al., eq. 13)."""
    HEUN = "heun"
    """The mean of the predictions at both ends of the step, of second order, at twice the cost
    (region-of-interest-aware diffusion, eqs. 5.13–5.16); the last step is Euler's.
    """


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """solver: of the steps. begin: sampling begins at the first level whose log-SNR, as felt at 512², is at
    least this, with the trajectory's latents of that level; −∞ is the noisiest.
    """

    solver: Solver = Solver.EULER
    begin: float = -math.inf


DEFAULT_PLAN = SamplingPlan()


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What does not change in one render.

    trajectory: the source's latents per noise level. generator: the only source of randomness, on the CPU.
    picture: latent height and width of the whole picture, where the run works on a part of it.
    """

    denoiser: Denoiser | ConditionedVideo
    grid: Grid | FlowGrid
    regions: RegionStack
    trajectory: Trajectory | NoiseLine
    generator: torch.Generator
    plan: SamplingPlan = DEFAULT_PLAN
    picture: tuple[int, int] | None = None

    @property
    def backbone(self) -> Backbone:
        """The model that is asked, where it is one whose attention can be steered; raises `TypeError` for an
        image-to-video model.
        """
        return self.frame_denoiser.backbone

    @property
    def frame_denoiser(self) -> Denoiser:
        """How that model is asked; raises as `backbone` does."""
        if not isinstance(self.denoiser, Denoiser):
            raise TypeError("A control that steers attention does not run on an image-to-video model.")
        return self.denoiser

    @property
    def device(self) -> Device:
        """Where the model runs."""
        return self.denoiser.backbone.device

    @property
    def frames(self) -> int:
        """How many frames are edited."""
        return self.trajectory.shape[0]

    @property
    def latent_size(self) -> tuple[int, int]:
        """Latent height and width."""
        return self.trajectory.shape[2], self.trajectory.shape[3]

    @property
    def picture_size(self) -> tuple[int, int]:
        """Latent height and width of the whole picture: what a noise level is felt at. A part shows no less
        detail than the whole.
        """
        return self.picture or self.latent_size


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the sampler, from noise level `level` to `level − 1` (see `Grid`).

    index: 0 for the first. timestep: of the model. felt_log_snr: the noise level as felt at 512² (see
    `schedule.felt_log_snr`). time: the matching `t` in [0, 1] of ξ(t).
    """

    index: int
    of: int
    level: int
    timestep: int
    felt_log_snr: float
    time: float


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One more prediction per step, stacked with the edit's into a single call of the backbone.

    text: (L, C) states, or (F, L, C) where every frame has its own; or what gives them at a step. latents:
    gives (F, C, h, w) to predict from at a step; None: the edit's own latents. wanted: whether a step needs
    the prediction at all; None: every step does.
    """

    name: str
    text: torch.Tensor | Callable[[Step], torch.Tensor]
    latents: Callable[[Step], torch.Tensor] | None = None
    wanted: Callable[[Step], bool] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What a step asks the backbone. latents: (B, F, C, h, w). text: (B, L, C), or (B, F, L, C). branches:
    the B names.
    """

    latents: torch.Tensor
    text: torch.Tensor
    branches: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Predicted noise of a step: per branch that the step asked for, and the one to follow, all (F, C, h, w)
    float32; of a model that was trained by flow matching, the velocity. latents: of the edit, that it was
    predicted in.
    """

    branches: Mapping[str, torch.Tensor]
    noise: torch.Tensor
    latents: torch.Tensor


class Control(Protocol):
    """One mechanism that steers sampling. Every hook is optional; the default does nothing.

    A control holds no state that outlives a step other than what `prepare` makes, so that a run which is
    resumed at any step gives the same bits as one that was never interrupted.
    """

    def branches(self, run: Run) -> Sequence[Branch]:
        """The predictions that the control needs beside the edit's."""
        return ()

    def prepare(self, run: Run) -> None:
        """Listen on attention sites, compute masks."""
        return

    def before_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        """Latents (F, C, h, w) at the level the step starts from."""
        return latents

    def guide(self, prediction: Prediction, step: Step) -> torch.Tensor:
        """The noise to follow, given every branch's and the choice of the controls before this one. Asked
        twice in a step of second order, the second time for the level that the step leads to.
        """
        return prediction.noise

    def direct(self, direction: torch.Tensor, step: Step) -> torch.Tensor:
        """The noise of DDIM's direction term alone, (F, C, h, w): where a step goes, given what it holds for
        clean (Song et al., eq. 12). It starts as the noise that is followed.
        """
        return direction

    def after_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        """Latents at the level that the step led to, `step.level − 1`."""
        return latents

    def shows(self) -> Mapping[str, torch.Tensor]:
        """What the control did in the step that just ended, for whoever inspects the run: by name (F, h, w)
        of any size, float.
        """
        return {}

    def close(self) -> None:
        """Leave the backbone as it was found; also called when `prepare` failed or never ran."""
        return
