"""Classifier-free guidance as a branch and a direction (Ho & Salimans, 2022), over an interval of noise
levels (Kynkäänniemi et al., 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from mattebox_backend.diffusion.control import EDIT_BRANCH, Branch, Control, Prediction, Run, Step

UNCONDITIONAL_BRANCH = "unconditional"


class ClassifierFreeGuidance(Control):
    """`e_away + scale · (e_edit − e_away)`, with `e_away` predicted under a text to keep away from.

    name: of the branch that predicts `e_away`. text: its states, as of a `Branch`. above, until: guidance
    points the way while `above < log-SNR ≤ until`, as felt at 512²; a step that no guidance is for costs
    half. A scale of 1 is the edit's own prediction: no branch is run for it.

    Two of them over neighbouring intervals change what is kept away from: at first the source's prompt, so
    that what the clip was gives way, then the negative one.
    """

    def __init__(
        self,
        name: str,
        text: torch.Tensor | Callable[[Step], torch.Tensor],
        scale: float,
        *,
        above: float = -math.inf,
        until: float = math.inf,
    ) -> None:
        self._name = name
        self._text = text
        self._scale = scale
        self._above = above
        self._until = until
        self._pull: torch.Tensor | None = None

    def branches(self, run: Run) -> Sequence[Branch]:
        if self._scale == 1:
            return ()
        return (Branch(self._name, self._text, wanted=self._guides),)

    def _guides(self, step: Step) -> bool:
        return self._above < step.felt_log_snr <= self._until

    def guide(self, prediction: Prediction, step: Step) -> torch.Tensor:
        away = prediction.branches.get(self._name)
        self._pull = None
        if away is None:
            return prediction.noise
        difference = prediction.branches[EDIT_BRANCH] - away
        self._pull = difference.square().sum(1).sqrt()
        return away + self._scale * difference

    def shows(self) -> Mapping[str, torch.Tensor]:
        return {f"guidance away from {self._name}": self._pull} if self._pull is not None else {}

    def close(self) -> None:
        self._pull = None
