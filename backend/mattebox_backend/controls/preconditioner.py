"""A diagonal preconditioner of the steps (region-of-interest-aware diffusion, eq. 3.11): larger steps where
the edit is wanted, smaller ones elsewhere.
"""

from __future__ import annotations

import torch

from mattebox_backend.controls.edit_mask import EditMask
from mattebox_backend.diffusion.control import Control, Step


class Preconditioner(Control):
    """`x_{t−1} ← x_t + W·(μ − x_t)`, with μ where the sampler went and W the diagonal matrix of
    `inside·M + outside·(1 − M)`.

    Weights of 1 leave the sampler as it is. Others move latents off their noise level, as the paper's formula
    has it: what is left of that after the last step stays in the result. It comes after controls that move
    the latents before a step, and before those that set the background.
    """

    def __init__(self, mask: EditMask, inside: float, outside: float) -> None:
        self._mask = mask
        self._inside = inside
        self._outside = outside
        self._before = torch.empty(0)

    def before_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        self._before = latents
        return latents

    def after_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        mask = self._mask.current
        weight = self._inside * mask + self._outside * (1 - mask)
        return torch.lerp(self._before, latents, weight)

    def close(self) -> None:
        self._before = torch.empty(0)
