"""Self-attention control (VideoDirector, eq. 6): the edit takes the layout of a reconstruction that runs
beside it, first by its attention (SA-I), then by looking at it outside the regions (SA-II).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mattebox_backend.attention import AttentionCall, LowRankBias, Projections, SiteKind, Term
from mattebox_backend.diffusion.control import Control, Run, Step

_NEVER_SEEN = -3.0e4
"""A logit that no softmax lets through, and that half precision still holds."""


@dataclass(frozen=True, slots=True)
class SelfAttentionPlan:
    """turn: SA-I while log-SNR, as felt at 512², is at most this, SA-II after. first, second: whether each of
    the two acts at all.
    """

    turn: float
    first: bool = True
    second: bool = True


class SelfAttentionControl(Control):
    """references: for each branch that is steered, the branch of the reconstruction that it takes after."""

    def __init__(self, plan: SelfAttentionPlan, references: Mapping[str, str]) -> None:
        self._plan = plan
        self._references = dict(references)
        self._early = True
        self._run: Run | None = None
        self._inside: dict[tuple[int, int], torch.Tensor] = {}

    def prepare(self, run: Run) -> None:
        self._run = run
        self._inside = {}
        for site in run.backbone.attention_sites():
            if site.kind is SiteKind.SELF:
                run.backbone.switchboard.listen(site, self, couples_branches=True)

    def before_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        self._early = step.felt_log_snr <= self._plan.turn
        return latents

    def close(self) -> None:
        if self._run is not None:
            self._run.backbone.switchboard.hush(self)
        self._run = None

    def terms(self, call: AttentionCall) -> Sequence[Term]:
        """What happens to one call of a self site."""
        pairs = {
            call.branches.index(branch): call.branches.index(reference)
            for branch, reference in self._references.items()
            if branch in call.branches and reference in call.branches
        }
        if not pairs:
            return ()
        if self._early:
            return (share_maps(pairs),) if self._plan.first else ()
        if not self._plan.second:
            return ()
        return look_at_reference(pairs, self._inside_of(call), len(call.branches))

    def _inside_of(self, call: AttentionCall) -> torch.Tensor:
        """Which keys lie in a region: (K,) bool, on the CPU."""
        if self._run is None:
            raise RuntimeError("SelfAttentionControl steers only between prepare() and close().")
        if call.grid not in self._inside:
            owners = torch.from_numpy(self._run.regions.owners(*call.grid)).flatten(1)
            self._inside[call.grid] = owners > 0
        return self._inside[call.grid][list(call.key_frames)].flatten()


def share_maps(pairs: Mapping[int, int]) -> Projections:
    """SA-I: branch i attends with the maps of branch `pairs[i]`, to values of its own (`W_t · V*_t`)."""

    def edit(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # Maps are made of queries and keys alone: with those of the reference they are its maps.
        order = [pairs.get(place, place) for place in range(len(query))]
        return query[order], key[order], value

    return Projections(edit)


def look_at_reference(pairs: Mapping[int, int], inside: torch.Tensor, branches: int) -> tuple[Term, ...]:
    """SA-II: branch i attends to its own keys and, outside the regions, to those of branch `pairs[i]`:
    `S(Q*·[K* | K]ᵀ/√d ⊗ [1 | M])·[V* | V]`. Keys of the reference inside a region are not there at all, which
    is what hiding them comes to.

    inside: (K,) bool, on the CPU. Branches that are not steered see their own keys alone; all branches of a
    call have equally many, so theirs are lengthened too, by keys that are hidden from them.
    """
    outside = (~inside).nonzero().squeeze(1)

    def edit(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        order = [pairs.get(place, place) for place in range(branches)]
        chosen = outside.to(key.device)
        added = (projected[order].index_select(2, chosen) for projected in (key, value))
        longer_key, longer_value = (
            torch.cat([own, more], 2) for own, more in zip((key, value), added, strict=True)
        )
        return query, longer_key, longer_value

    hidden = torch.zeros(branches, len(inside) + len(outside))
    for place in set(range(branches)) - pairs.keys():
        hidden[place, len(inside) :] = _NEVER_SEEN
    if not hidden.any():
        return (Projections(edit),)
    return Projections(edit), LowRankBias(torch.ones(1, 1, 1, 1), hidden.view(branches, 1, -1, 1))
