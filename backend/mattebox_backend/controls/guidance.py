"""Classifier-free guidance as a branch and a direction (Ho & Salimans, 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mattebox_backend.diffusion.control import EDIT_BRANCH, Branch, Control, Prediction, Run, Step

UNCONDITIONAL_BRANCH = "unconditional"


class ClassifierFreeGuidance(Control):
    """`e_u + scale · (e_c − e_u)`, with `e_u` predicted under the negative prompt.

    text: (L, C) states of the negative prompt. A scale of 1 is the edit's own prediction: no branch is run
    for it.
    """

    def __init__(self, scale: float, text: torch.Tensor) -> None:
        self._scale = scale
        self._text = text

    def branches(self, run: Run) -> Sequence[Branch]:
        return () if self._scale == 1 else (Branch(UNCONDITIONAL_BRANCH, self._text),)

    def guide(self, prediction: Prediction, step: Step) -> torch.Tensor:
        unconditional = prediction.branches.get(UNCONDITIONAL_BRANCH)
        if unconditional is None:
            return prediction.noise
        return unconditional + self._scale * (prediction.branches[EDIT_BRANCH] - unconditional)
