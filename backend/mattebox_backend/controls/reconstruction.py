"""A reconstruction of the source that runs beside the edit, for controls that read it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mattebox_backend.diffusion.control import Branch, Control, Run, Step
from mattebox_backend.diffusion.pivotal import NULL_BRANCH
from mattebox_backend.diffusion.pivots import Pivots

RECONSTRUCTION_BRANCH = "reconstruction"


class Reconstruction(Control):
    """Two branches on the latents of a pivotal inversion: one under the source's prompt, and one under the
    embeddings that were found, wherever guidance is applied.

    text: (L, C), states of the source's prompt. scale, until: of guidance (1 is none), up to a log-SNR as
    felt at 512².
    """

    def __init__(self, pivots: Pivots, text: torch.Tensor, scale: float, *, until: float) -> None:
        self._pivots = pivots
        self._text = text
        self._scale = scale
        self._until = until
        self._run: Run | None = None

    def branches(self, run: Run) -> Sequence[Branch]:
        self._run = run
        reconstruction = Branch(RECONSTRUCTION_BRANCH, self._text, self._latents)
        if self._scale == 1:
            return (reconstruction,)
        return (
            reconstruction,
            Branch(
                NULL_BRANCH,
                self.embeddings,
                self._latents,
                wanted=lambda step: step.felt_log_snr <= self._until,
            ),
        )

    def embeddings(self, step: Step) -> torch.Tensor:
        """The null-text embeddings (F, L, C) of a step."""
        return self._pivots.embeddings_from(step.level, self._prepared.backbone.device)

    def close(self) -> None:
        self._run = None

    def _latents(self, step: Step) -> torch.Tensor:
        return self._pivots.latents_at(step.level, self._prepared.backbone.device)

    @property
    def _prepared(self) -> Run:
        if self._run is None:
            raise RuntimeError("Reconstruction has latents only between branches() and close().")
        return self._run
