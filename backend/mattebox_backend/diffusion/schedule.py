"""Noise levels: the one grid that inversion and sampling share, and what a level means at another
resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch

PredictionType = Literal["epsilon", "v_prediction", "sample"]

_REFERENCE_CELLS = 64 * 64
"""Latent cells at Stable Diffusion's own 512×512: noise levels are given as they are felt there."""


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSchedule:
    """The noise schedule that a model was trained with.

    alphas: ᾱ per training timestep, (T,) float64. clean: ᾱ of the level that stands for "no noise".
    """

    alphas: torch.Tensor
    clean: float
    prediction: PredictionType
    scheduler: Any  # diffusers.DDIMScheduler: it knows how the model's timesteps are spaced

    @classmethod
    def of(cls, scheduler: Any) -> NoiseSchedule:
        """Take the schedule from a `DDIMScheduler`."""
        return cls(
            scheduler.alphas_cumprod.to(torch.float64),
            float(scheduler.final_alpha_cumprod),
            scheduler.config.prediction_type,
            scheduler,
        )

    def grid(self, steps: int) -> Grid:
        """The noise levels of a run of `steps` steps."""
        self.scheduler.set_timesteps(steps)
        spaced = [int(t) for t in reversed(self.scheduler.timesteps.tolist())]
        # At as many steps as there are levels, a scheduler with an offset runs past the last of them.
        excess = max(0, spaced[-1] - (len(self.alphas) - 1))
        timesteps = tuple(t - excess for t in spaced)
        alphas = (self.clean, *(float(self.alphas[t]) for t in timesteps))
        return Grid(timesteps, alphas)

    def noise(self, output: torch.Tensor, latents: torch.Tensor, timestep: int) -> torch.Tensor:
        """The noise that a model's raw output stands for, whichever quantity it was trained to predict."""
        if self.prediction == "epsilon":
            return output
        alpha = float(self.alphas[timestep])
        signal, spread = math.sqrt(alpha), math.sqrt(1 - alpha)
        if self.prediction == "v_prediction":
            return signal * output + spread * latents.to(output)
        return (latents.to(output) - signal * output) / spread


@dataclass(frozen=True, slots=True)
class Grid:
    """The noise levels 0 … N of a run: level 0 is clean, level i > 0 lies at `timesteps[i − 1]`.

    Sampling walks from level N to 0 and inversion from 0 to N, over the very same levels.
    """

    timesteps: tuple[int, ...]
    alphas: tuple[float, ...]

    @property
    def steps(self) -> int:
        """N: how many steps lie between clean and the noisiest level."""
        return len(self.timesteps)

    def log_snr(self, level: int) -> float:
        """ln(ᾱ / (1 − ᾱ)) of a level."""
        alpha = min(max(self.alphas[level], 1e-12), 1 - 1e-12)
        return math.log(alpha / (1 - alpha))

    def spread(self, level: int) -> float:
        """√(1 − ᾱ), the deviation of the noise at a level."""
        return math.sqrt(1 - self.alphas[level])

    def move(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        start: int,
        end: int,
        direction: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Latents at level `start` carried to level `end` along predicted noise: DDIM without randomness,
        either way (Song et al., eq. 12 with σ = 0).

        direction: the noise of the term that points to `end`, where it is not the predicted one.
        """
        there = self.alphas[end]
        clean = self.clean(latents, noise, start)
        return math.sqrt(there) * clean + math.sqrt(1 - there) * (noise if direction is None else direction)

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, level: int) -> torch.Tensor:
        """Clean latents under noise of a level; level 0 is the clean latents themselves."""
        alpha = self.alphas[level] if level > 0 else 1.0
        return math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * noise

    def clean(self, latents: torch.Tensor, noise: torch.Tensor, level: int) -> torch.Tensor:
        """The clean latents that the predicted noise implies."""
        alpha = max(self.alphas[level], 1e-8)
        return (latents - math.sqrt(1 - alpha) * noise) / math.sqrt(alpha)


def felt_log_snr(log_snr: float, latent_height: int, latent_width: int) -> float:
    """A noise level as it would be felt at Stable Diffusion's 64×64 latents.

    The fewer cells a picture has, the fewer average out the noise, so one and the same level destroys more:
    halving the side moves log-SNR by 2·ln 2 (Hoogeboom et al., simple diffusion, eq. 4).
    """
    return log_snr - math.log(_REFERENCE_CELLS / (latent_height * latent_width))


def reference_time(felt: float) -> float:
    """The time in [0, 1] at which Stable Diffusion's own schedule stands at a (felt) log-SNR.

    It is the `t` of strengths like ξ(t) = t⁵: with it a strength means the same for every model and
    resolution.
    """
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    levels = torch.log(alphas / (1 - alphas))
    index = int(torch.searchsorted(-levels, torch.tensor(-felt, dtype=torch.float64)))
    return min(index, 999) / 1000
