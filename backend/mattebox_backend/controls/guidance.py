"""Classifier-free guidance as a branch and a direction (Ho & Salimans, 2022), over an interval of noise
levels (Kynkäänniemi et al., 2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from mattebox_backend.diffusion.control import EDIT_BRANCH, Branch, Control, Prediction, Run, Step

UNCONDITIONAL_BRANCH = "unconditional"


class ClassifierFreeGuidance(Control):
    """`e_u + scale · (e_c − e_u)`, with `e_u` predicted under the negative prompt.

    text: (L, C) states of the negative prompt. window: guidance points the way while the noise level, as
    log-SNR felt at 512², is at most this; the details that are decided later need none, and a step without
    it costs half. A scale of 1 is the edit's own prediction: no branch is run for it.
    """

    def __init__(self, scale: float, text: torch.Tensor, window: float = math.inf) -> None:
        self._scale = scale
        self._text = text
        self._window = window

    def branches(self, run: Run) -> Sequence[Branch]:
        if self._scale == 1:
            return ()
        return (Branch(UNCONDITIONAL_BRANCH, self._text, wanted=self._guides),)

    def _guides(self, step: Step) -> bool:
        return step.felt_log_snr <= self._window

    def guide(self, prediction: Prediction, step: Step) -> torch.Tensor:
        unconditional = prediction.branches.get(UNCONDITIONAL_BRANCH)
        if unconditional is None:
            return prediction.noise
        return unconditional + self._scale * (prediction.branches[EDIT_BRANCH] - unconditional)
