"""Routing of cross attention (region-of-interest-aware diffusion, eq. 3.9): every place hears more of the
words of the region that it lies in.

`ĉ_il = c_il + ρ·R_il`, with `R_il` the share of token i in which the region of word l shows: soft masks at
the size of each attention layer (the mask pyramid, eq. 3.12).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mattebox_backend.attention import AttentionCall, LowRankBias, SiteKind
from mattebox_backend.controls.text_layout import TextLayout
from mattebox_backend.diffusion.control import EDIT_BRANCH, Control, Run, Step


class RegionRouting(Control):
    """Routes the branch of the edit alone: no other branch's text has the regions' words.

    A part hides what it is a part of, so that its tokens are drawn to its own words, and its whole's words
    stay as they are to them. strength: ρ. window: it routes while the noise level, as log-SNR felt at 512²,
    is at most this. smallest_reduction: of the layers that are routed.
    """

    def __init__(self, text: TextLayout, strength: float, window: float, smallest_reduction: int) -> None:
        self._text = text
        self._strength = strength
        self._window = window
        self._smallest_reduction = smallest_reduction
        self._inside = False
        self._run: Run | None = None
        self._shares: dict[tuple[int, int], torch.Tensor] = {}

    def prepare(self, run: Run) -> None:
        self._run = run
        self._shares = {}
        if self._strength == 0:
            return
        for site in run.backbone.attention_sites():
            if site.kind is SiteKind.CROSS and site.reduction >= self._smallest_reduction:
                run.backbone.switchboard.listen(site, self)

    def before_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        self._inside = step.felt_log_snr <= self._window
        return latents

    def close(self) -> None:
        if self._run is not None:
            self._run.backbone.switchboard.hush(self)
        self._run = None

    def terms(self, call: AttentionCall) -> Sequence[LowRankBias]:
        """The bias of one cross-attention call; none outside the window, or where the edit is not asked."""
        if not self._inside or EDIT_BRANCH not in call.branches:
            return ()
        term = region_routing(self._shares_of(call), word_indicator(self._text), self._strength)
        routed = torch.tensor([name == EDIT_BRANCH for name in call.branches], device=call.device)
        return (LowRankBias(routed.view(-1, 1, 1, 1) * term.query, term.key.to(call.device)),)

    def _shares_of(self, call: AttentionCall) -> torch.Tensor:
        if self._run is None:
            raise RuntimeError("RegionRouting steers only between prepare() and close().")
        if call.grid not in self._shares:
            shares = self._run.regions.shares(*call.grid)
            self._shares[call.grid] = torch.from_numpy(shares).flatten(2).to(call.device)
        return self._shares[call.grid][:, list(call.frames)].flatten(1)


def region_routing(shares: torch.Tensor, words: torch.Tensor, strength: float) -> LowRankBias:
    """Eq. 3.9 with `R = sharesᵀ · words`, of rank K: shares (K, N) of the tokens in [0, 1], words (K, L)."""
    return LowRankBias(strength * shares.T, words.T)


def word_indicator(text: TextLayout) -> torch.Tensor:
    """Which words are each region's: (K, L) float32, 0 or 1."""
    indicator = torch.zeros(len(text.words), text.length)
    for region, words in enumerate(text.words):
        indicator[region, list(words)] = 1
    return indicator
