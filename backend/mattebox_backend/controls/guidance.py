"""Classifier-free guidance as a branch and a direction (Ho & Salimans, 2022), over an interval of noise
levels (Kynkäänniemi et al., 2024), and over a field (region-of-interest-aware diffusion, eqs. 4.4, 5.17).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from mattebox_backend.controls.edit_mask import EditMask
from mattebox_backend.diffusion.control import EDIT_BRANCH, Branch, Control, Prediction, Run, Step

UNCONDITIONAL_BRANCH = "unconditional"


@dataclass(frozen=True, slots=True, eq=False)
class GuidanceField:
    """A scale of its own for every place and noise level: `g_t = γ_t·M + background·(1 − M)`.

    mask: M; it has to come before the guidance among the controls. background: the scale outside; 0 is the
    paper's, the prediction that guidance leads away from. rise: γ_t goes from `share` of the guidance's scale
    to all of it while log-SNR, as felt at 512², goes from the first level of `rise` to the second; two equal
    levels make it a schedule of two phases. A share of 1 is constant guidance.
    """

    mask: EditMask
    background: float = 0.0
    share: float = 1.0
    rise: tuple[float, float] = (0.0, 0.0)

    def scale(self, scale: float, step: Step) -> torch.Tensor:
        """g_t: (F, 1, h, w), for guidance of a scale."""
        mask = self.mask.current
        return self.strength(scale, step.felt_log_snr) * mask + self.background * (1 - mask)

    def strength(self, scale: float, log_snr: float) -> float:
        """γ_t."""
        begin, end = self.rise
        if log_snr >= end:
            return scale
        risen = max(0.0, (log_snr - begin) / (end - begin)) if begin < end else 0.0
        return scale * (self.share + (1 - self.share) * risen)


class ClassifierFreeGuidance(Control):
    """`e_away + scale · (e_edit − e_away)`, with `e_away` predicted under a text to keep away from.

    name: of the branch that predicts `e_away`. text: its states, as of a `Branch`. above, until: guidance
    points the way while `above < log-SNR ≤ until`, as felt at 512²; a step that no guidance is for costs
    half. A scale of 1 is the edit's own prediction: no branch is run for it. field: where given, `scale`
    becomes the field's.

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
        field: GuidanceField | None = None,
    ) -> None:
        self._name = name
        self._text = text
        self._scale = scale
        self._above = above
        self._until = until
        self._field = field
        self._pull: torch.Tensor | None = None

    def branches(self, run: Run) -> Sequence[Branch]:
        if self._scale == 1 and self._field is None:
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
        scale = self._scale if self._field is None else self._field.scale(self._scale, step)
        self._pull = (scale * difference).square().sum(1).sqrt()
        return away + scale * difference

    def shows(self) -> Mapping[str, torch.Tensor]:
        return {f"guidance away from {self._name}": self._pull} if self._pull is not None else {}

    def close(self) -> None:
        self._pull = None
