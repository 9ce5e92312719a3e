"""What can be done to the projections, the logits and the maps of one attention call.

Logits are `s = q·kᵀ/√d`. Two of the terms are *low-rank*: they can be folded into longer query and key
vectors, so that any fused kernel computes them exactly, at memory that grows with the number of tokens and
not with its square.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class LowRankBias:
    """`s ← s + query · keyᵀ`, a bias of rank r.

    query: (N, r), or broadcastable to (branches, heads, N, r); key: (K, r), or likewise.
    """

    query: torch.Tensor
    key: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RowExtremes:
    """Pull related pairs towards their row's largest logit and unrelated ones towards its smallest.

    `s ← s + a·R⁺·(max_row(s) − s) − a·R⁻·(s − min_row(s))` (ST-Modulator, eqs. 1, 2, 4), with

    strength: `a` per query row, (N,) or broadcastable to (branches, heads, N), within [0, 1]; relation:
    (Cq, Ck) int8 between classes of queries and of keys: +1 is R⁺, −1 is R⁻, 0 leaves the pair alone;
    query_classes: (N,) int64 in [0, Cq); key_classes: (K,) int64 in [0, Ck).
    """

    query_classes: torch.Tensor
    key_classes: torch.Tensor
    relation: torch.Tensor
    strength: torch.Tensor

    @property
    def folds(self) -> bool:
        """Whether no modulated pair is neutral: the modulation then is a scaling and a bias of low rank."""
        modulated = self.strength.reshape(-1, self.strength.shape[-1]).amax(dim=0) > 0
        used = torch.zeros(len(self.relation), dtype=torch.bool, device=modulated.device)
        used[self.query_classes[modulated]] = True
        return not bool((self.relation[used] == 0).any())


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMaps:
    """Read or replace the maps themselves, one block of query rows at a time.

    edit: takes probabilities (branches, heads, rows, K) and the slice of query rows that they are, gives the
    probabilities to use instead (the same tensor where it only reads).
    """

    edit: Callable[[torch.Tensor, slice], torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Projections:
    """Read or replace queries, keys and values before anything is computed with them.

    edit: takes query (branches, heads, N, d), key and value (branches, heads, K, d), gives the three to use;
    it may give more keys than it took, and terms that come after it see those.
    """

    edit: Callable[
        [torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    ]


Term = LowRankBias | RowExtremes | AttentionMaps | Projections
