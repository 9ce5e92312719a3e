"""Latent blending: outside the regions, the clip stays on its own inversion (Avrahami et al.; ST-Modulator,
eq. 7).
"""

from __future__ import annotations

import torch

from mattebox_backend.controls.edit_mask import EditMask
from mattebox_backend.diffusion.control import Control, Run, Step


class LatentBlend(Control):
    """`z ← M·z + (1 − M)·z*` after every step, with `z*` the inverted latents of the level the step led to.

    At the last step that level is the clean source itself. mask: M, as a blend keeps it (`EditMask.kept`); it
    has to come before among the controls. Without one a cell is free where the regions cover any of it;
    everything else is the source's.
    """

    def __init__(self, mask: EditMask | None = None) -> None:
        self._mask = mask
        self._run: Run | None = None
        self._free = torch.empty(0)

    def prepare(self, run: Run) -> None:
        self._run = run
        free = run.regions.coverage(*run.latent_size) > 0
        self._free = torch.from_numpy(free).unsqueeze(1).to(run.device.torch)

    def after_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        if self._run is None:
            raise RuntimeError("LatentBlend.after_step needs prepare() first.")
        source = self._run.trajectory.level(step.level - 1, self._run.device)
        if self._mask is not None:
            return torch.lerp(source, latents, self._mask.kept(step))
        return torch.where(self._free, latents, source)

    def close(self) -> None:
        self._run = None
