"""Watches how richly latents vary inside the regions and outside, noise level by noise level
(region-of-interest-aware diffusion, eqs. 6.3, 6.4).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from mattebox_backend.diffusion.control import Control, Run, Step
from mattebox_backend.metrics.spectra import RegionSpectra, region_spectra


class SpectrumProbe(Control):
    """Tells `tell` the spectra of the latents that every step led to; changes nothing, and keeps nothing."""

    def __init__(self, tell: Callable[[Step, RegionSpectra], None]) -> None:
        self._tell = tell
        self._coverage = torch.empty(0)

    def prepare(self, run: Run) -> None:
        self._coverage = torch.from_numpy(run.regions.coverage(*run.latent_size))

    def after_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        self._tell(step, region_spectra(latents.cpu().numpy(), self._coverage.numpy()))
        return latents
