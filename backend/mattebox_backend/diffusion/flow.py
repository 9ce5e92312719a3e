"""Noise levels of models that were trained by flow matching: latents lie on the straight line between a clip
and noise, and the model predicts the way from one to the other (Lipman et al., 2023; Wan, section 4.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from mattebox_backend.device import Device


@dataclass(frozen=True, slots=True)
class FlowSchedule:
    """How a model's levels are spaced. timesteps: what the model calls σ = 1. shift: its own, of `grid`."""

    timesteps: int = 1000
    shift: float = 1.0

    @classmethod
    def of(cls, config: dict[str, Any]) -> FlowSchedule:
        """Take it from a scheduler's configuration: `FlowMatchEulerDiscreteScheduler` calls its shift
        `shift`, `UniPCMultistepScheduler` calls it `flow_shift`.
        """
        shift = config.get("flow_shift", config.get("shift", 1.0))
        return cls(int(config.get("num_train_timesteps", 1000)), float(shift))

    def grid(self, steps: int, shift: float) -> FlowGrid:
        """`steps` steps from σ = 1 to 0, evenly spaced but for the shift: `s·σ / (1 + (s − 1)·σ)`, which
        keeps the run longer where there is most noise (Esser et al., 2024, eq. 23).
        """
        even = [level / steps for level in range(steps + 1)]
        return FlowGrid(tuple(shifted(sigma, shift) for sigma in even), self.timesteps)

    def timestep(self, sigma: float) -> float:
        """What the model is told for σ."""
        return sigma * self.timesteps


@dataclass(frozen=True, slots=True)
class FlowGrid:
    """The noise levels 0 … N of a run, as `Grid` has them: `x = (1 − σ)·x_0 + σ·ε`, σ from 0 to 1.

    What a step follows is not the noise but the velocity `ε − x_0`: at σ = 1 there is nothing of the clip in
    the latents that the noise could be told from.
    """

    sigmas: tuple[float, ...]
    scale: int

    @property
    def steps(self) -> int:
        """N: how many steps lie between clean and pure noise."""
        return len(self.sigmas) - 1

    @property
    def timesteps(self) -> tuple[int, ...]:
        """What the model is told at levels 1 … N, in whole numbers, as Wan's own sampler tells it."""
        return tuple(round(sigma * self.scale) for sigma in self.sigmas[1:])

    def log_snr(self, level: int) -> float:
        """ln((1 − σ)² / σ²) of a level."""
        sigma = min(max(self.sigmas[level], 1e-6), 1 - 1e-6)
        return 2 * math.log((1 - sigma) / sigma)

    def spread(self, level: int) -> float:
        """σ, the deviation of the noise at a level."""
        return self.sigmas[level]

    def move(
        self,
        latents: torch.Tensor,
        velocity: torch.Tensor,
        start: int,
        end: int,
        direction: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Latents at level `start` carried to level `end` along a velocity: Euler's step, either way.

        direction: the velocity to go along, where it is not the predicted one.
        """
        followed = velocity if direction is None else direction
        return latents + (self.sigmas[end] - self.sigmas[start]) * followed

    def clean(self, latents: torch.Tensor, velocity: torch.Tensor, level: int) -> torch.Tensor:
        """The clean latents that the predicted velocity implies."""
        return latents - self.sigmas[level] * velocity

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, level: int) -> torch.Tensor:
        """Clean latents under noise of a level."""
        sigma = self.sigmas[level]
        return (1 - sigma) * clean + sigma * noise


@dataclass(frozen=True, slots=True, eq=False)
class NoiseLine:
    """The straight line from a clip to noise: what a `Trajectory` is to an inversion, and nothing to keep.

    noise: (T, C, h, w) float32. clean: like it; None: the clip is not needed, and only the line's noisy end
    can be asked for.
    """

    grid: FlowGrid
    noise: torch.Tensor
    clean: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, C, h, w)."""
        frames, channels, height, width = self.noise.shape
        return frames, channels, height, width

    def level(self, level: int, device: Device) -> torch.Tensor:
        """The latents of one noise level: (T, C, h, w) float32."""
        if self.clean is None:
            if level != self.grid.steps:
                raise ValueError(f"Level {level} of a line to noise is asked for, and its clip is not known.")
            return self.noise.to(device.torch)
        return self.grid.noised(self.clean.to(device.torch), self.noise.to(device.torch), level)


def shifted(sigma: float, shift: float) -> float:
    """See `FlowSchedule.grid`. sigma in [0, 1]; shift above 0, 1 leaves it as it is."""
    return shift * sigma / (1 + (shift - 1) * sigma)
