"""The mask that an edit's controls share: soft, at latent size; on request with a smoothed boundary, and
moving with what is generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from mattebox_backend.controls.mask_evolution import MaskEvolution, evolve
from mattebox_backend.diffusion.control import EDIT_BRANCH, Control, Prediction, Run, Step
from mattebox_backend.masks import smooth_mask

FAINTEST = 1 / 255
"""A smoothed mask ends where it falls below this, so that cells far from a region are the source's alone."""


@dataclass(frozen=True, slots=True)
class MaskShape:
    """smoothing: √α of eq. 4.12 in latent cells; 0 keeps the mask's own edge. evolution: None keeps the mask
    where it is.
    """

    smoothing: float = 0.0
    evolution: MaskEvolution | None = None


class EditMask(Control):
    """Steers nothing itself; it comes before the controls that read `current`.

    A mask that evolves is worked out anew, from the user's own, at every prediction: what it becomes depends
    on the latents of the step alone, so that a run that is resumed gives the same bits.
    """

    def __init__(self, shape: MaskShape) -> None:
        self._shape = shape
        self._run: Run | None = None
        self._coverage = self._soft = self._source = torch.empty(0)
        self._current: torch.Tensor | None = None

    @property
    def current(self) -> torch.Tensor:
        """(F, 1, h, w) float32 in [0, 1], 1 = edit here, as it stands at this moment of the step."""
        if self._current is None:
            raise RuntimeError(
                "EditMask has no mask outside prepare() and close(); put it before its readers."
            )
        return self._current

    def kept(self, step: Step) -> torch.Tensor:
        """How much of the edit's latents a blend keeps at a step: `M^(1/N)`, of N steps, like `current`.

        A blend is repeated at every step and multiplies up. With M itself next to nothing of an edit would be
        left wherever a mask is soft; so M is what is kept after all steps. Where M is 0 or 1, so is this.
        """
        return self.current ** (1 / step.of)

    def prepare(self, run: Run) -> None:
        self._run = run
        device = run.device
        coverage = torch.from_numpy(run.regions.coverage(*run.latent_size)).unsqueeze(1)
        self._coverage = coverage.to(device.torch)
        self._soft = self._softened(self._coverage)
        self._current = self._soft
        if self._shape.evolution is not None:
            self._source = run.trajectory.level(0, device)

    def before_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        self._current = self._soft
        return latents

    def guide(self, prediction: Prediction, step: Step) -> torch.Tensor:
        if self._shape.evolution is not None and self._run is not None:
            edit = prediction.branches[EDIT_BRANCH]
            clean = self._run.grid.clean(prediction.latents, edit, step.level)
            users = self._coverage > 0
            moved = evolve(users, clean, self._source, self._shape.evolution)
            # The mask's own soft edge where nothing moved; what was gained or lost is so wholly.
            self._current = self._softened(torch.where(moved == users, self._coverage, moved.float()))
        return prediction.noise

    def shows(self) -> Mapping[str, torch.Tensor]:
        return {"edit mask": self.current[:, 0]}

    def close(self) -> None:
        self._run = None
        self._current = None

    def _softened(self, masks: torch.Tensor) -> torch.Tensor:
        """Masks (F, 1, h, w) in [0, 1] with a smoothed boundary."""
        alpha = self._shape.smoothing**2
        if alpha == 0:
            return masks
        smooth = np.stack([smooth_mask(mask, alpha) for mask in masks[:, 0].cpu().numpy()])
        smooth[smooth < FAINTEST] = 0
        return torch.from_numpy(smooth).unsqueeze(1).to(masks.device)
