"""Invariant-region-guided joint sampling, IRJS (ReAtCo, eq. 8): outside the regions, every level holds the
source under noise of that level.
"""

from __future__ import annotations

import torch

from mattebox_backend.controls.edit_mask import EditMask
from mattebox_backend.diffusion.control import Control, Run, Step


class InvariantRegion(Control):
    """`z ← M·z + (1 − M)·(√ᾱ·V_0 + √(1 − ᾱ)·ε)` after every step, ᾱ of the level that the step led to.

    At the last step that is the clean source itself (the slip of noise that stays behind in the background
    comes from taking the level that the step started at). ε is drawn once from the edit's seed, so that the
    background runs along one line of noise. mask: M, as a blend keeps it (`EditMask.kept`); it has to
    come before among the controls. Without one a cell is free where the regions cover any of it.
    """

    def __init__(self, mask: EditMask | None = None) -> None:
        self._mask = mask
        self._run: Run | None = None
        self._free = self._clean = self._noise = torch.empty(0)

    def prepare(self, run: Run) -> None:
        self._run = run
        device = run.device
        free = run.regions.coverage(*run.latent_size) > 0
        self._free = torch.from_numpy(free).unsqueeze(1).to(device.torch)
        self._clean = run.trajectory.level(0, device)
        self._noise = torch.randn(self._clean.shape, generator=run.generator).to(device.torch)

    def after_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        if self._run is None:
            raise RuntimeError("InvariantRegion.after_step needs prepare() first.")
        source = self._run.grid.noised(self._clean, self._noise, step.level - 1)
        if self._mask is not None:
            return torch.lerp(source, latents, self._mask.kept(step))
        return torch.where(self._free, latents, source)

    def close(self) -> None:
        self._run = None
