"""What a recipe works with: the clip's regions and prompts, a backbone, and the two passes over the noise
levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.backbones.controlnet import ControlNet
from mattebox_backend.backbones.protocol import Backbone
from mattebox_backend.controls.text_layout import TextLayout
from mattebox_backend.diffusion.control import DEFAULT_PLAN, Control, SamplingPlan
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.pivotal import Conditional, PivotalPlan
from mattebox_backend.diffusion.pivots import Pivots
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.diffusion.tuning import TuningPlan
from mattebox_backend.edit import ControlChoice
from mattebox_backend.masks import RegionStack


class Materials(Protocol):
    """One render, as its method's recipe sees it."""

    @property
    def backbone(self) -> Backbone:
        """The loaded model."""
        ...

    @property
    def regions(self) -> RegionStack:
        """The regions, bottom-most first."""
        ...

    @property
    def prompt(self) -> str:
        """What the whole result should show."""
        ...

    @property
    def source_prompt(self) -> str:
        """What the source shows."""
        ...

    @property
    def pixels_per_cell(self) -> float:
        """How many pixels of the source a latent cell spans along a side."""
        ...

    @property
    def picture_size(self) -> tuple[int, int]:
        """Latent height and width of the whole picture: what a noise level is felt at."""
        ...

    @property
    def controls(self) -> Sequence[ControlChoice]:
        """The controls that the edit lists, for the method that takes a list."""
        ...

    @property
    def condition_pictures(self) -> NDArray[np.uint8] | None:
        """The edit's condition pictures, (F, H, W, 3) uint8 RGB as the backbone is given the frames."""
        ...

    def frames(self) -> NDArray[np.uint8]:
        """The source, (F, H, W, 3) uint8 RGB as the backbone is given it."""
        ...

    def controlnet(self, name: str) -> ControlNet:
        """The ControlNet of a name, loaded."""
        ...

    def invert(self, denoiser: Denoiser, prompt: str, *, steps: int) -> Trajectory:
        """The source inverted over a grid of `steps`, from the cache where it has been done before."""
        ...

    def noised(self, denoiser: Denoiser, *, steps: int) -> Trajectory:
        """The source under noise from the edit's seed, over a grid of `steps`, instead of its inversion."""
        ...

    def tuned(self, denoiser: Denoiser, prompt: str, plan: TuningPlan) -> Denoiser:
        """The denoiser with its image model inflated over time and tuned on the source under its prompt
        (Tune-A-Video), from the cache where that has been done before.
        """
        ...

    def pivots(
        self,
        denoiser: Denoiser,
        trajectory: Trajectory,
        empty: str,
        plan: PivotalPlan,
        conditional: Conditional,
        identity: str,
    ) -> Pivots:
        """The pivotal inversion along a trajectory of the source under its prompt, from the cache where it
        has been done before. empty: the prompt whose embedding is fitted; identity: all that `conditional`
        depends on beside clip, source prompt and backbone.
        """
        ...

    def sample(
        self,
        denoiser: Denoiser,
        words: TextLayout,
        start: Trajectory,
        controls: Sequence[Control],
        plan: SamplingPlan = DEFAULT_PLAN,
        *,
        regions: RegionStack | None = None,
    ) -> torch.Tensor:
        """Clean latents (F, C, h, w), sampled over the trajectory's grid under the edit's prompt, as it was
        laid out, and controls. regions: what the controls see instead of the edit's own.
        """
        ...
