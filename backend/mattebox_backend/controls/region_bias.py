"""Region bias of self attention (region-of-interest-aware diffusion, eq. 3.6): how much the region looks at
itself, at the background, and the background at it.

`s̃_ij = s_ij + γ·m_i·m_j + δ·m_i·(1 − m_j) + η·(1 − m_i)·m_j`, with `m` the soft mask at the size of each
attention layer (the mask pyramid, eq. 3.12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mattebox_backend.attention import AttentionCall, LowRankBias, SiteKind
from mattebox_backend.diffusion.control import Control, Run, Step


@dataclass(frozen=True, slots=True)
class BiasStrength:
    """What is added to logits: inside (γ) where the region looks at itself, outwards (δ) where it looks at
    the background, inwards (η) where the background looks at it. All 0: nothing. Their names follow the
    direction of the look, that is, from query to key.
    """

    inside: float
    outwards: float
    inwards: float

    @property
    def neutral(self) -> bool:
        """Whether nothing is added."""
        return self.inside == self.outwards == self.inwards == 0


class RegionBias(Control):
    """Biases every branch, in every frame that a frame sees.

    window: it biases while the noise level, as log-SNR felt at 512², is at most this. smallest_reduction: of
    the layers that are biased.
    """

    def __init__(self, strength: BiasStrength, window: float, smallest_reduction: int) -> None:
        self._strength = strength
        self._window = window
        self._smallest_reduction = smallest_reduction
        self._inside = False
        self._run: Run | None = None
        self._masks: dict[tuple[int, int], torch.Tensor] = {}

    def prepare(self, run: Run) -> None:
        self._run = run
        self._masks = {}
        if self._strength.neutral:
            return
        for site in run.backbone.attention_sites():
            if site.kind is SiteKind.SELF and site.reduction >= self._smallest_reduction:
                run.backbone.switchboard.listen(site, self)

    def before_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        self._inside = step.felt_log_snr <= self._window
        return latents

    def close(self) -> None:
        if self._run is not None:
            self._run.backbone.switchboard.hush(self)
        self._run = None

    def terms(self, call: AttentionCall) -> Sequence[LowRankBias]:
        """The bias of one self-attention call; none outside the window."""
        if not self._inside:
            return ()
        queries = self._masks_of(call.grid, call.frames, call.device)
        keys = self._masks_of(call.grid, call.key_frames, call.device)
        return (region_bias(queries, keys, self._strength),)

    def _masks_of(self, grid: tuple[int, int], frames: Sequence[int], device: torch.device) -> torch.Tensor:
        if self._run is None:
            raise RuntimeError("RegionBias steers only between prepare() and close().")
        if grid not in self._masks:
            coverage = self._run.regions.coverage(*grid)
            self._masks[grid] = torch.from_numpy(coverage).flatten(1).to(device)
        return self._masks[grid][list(frames)].flatten()


def region_bias(queries: torch.Tensor, keys: torch.Tensor, strength: BiasStrength) -> LowRankBias:
    """Eq. 3.6 for masks (N,) of the queries and (K,) of the keys, in [0, 1].

    It is of rank 2: `(γ·m_i + η·(1 − m_i))·m_j + δ·m_i·(1 − m_j)`. The strengths are the queries' factor,
    which the kernels carry exactly in half precision; hard masks are exact in the keys'.
    """
    towards = strength.inside * queries + strength.inwards * (1 - queries)
    return LowRankBias(
        torch.stack([towards, strength.outwards * queries], -1), torch.stack([keys, 1 - keys], -1)
    )
