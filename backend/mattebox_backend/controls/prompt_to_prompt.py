"""Cross-attention control, prompt-to-prompt (Hertz et al., 2023; VideoDirector, eq. 7): words that the edit
shares with the source keep the source's maps, so that what they name stays where it was.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mattebox_backend.attention import AttentionCall, AttentionMaps, SiteKind
from mattebox_backend.diffusion.control import Control, Run, Step


@dataclass(frozen=True, slots=True, eq=False)
class WordMapping:
    """How the maps of a source prompt of L tokens become those of an edited one.

    source: (L,) int64, per token of the edited prompt the token of the source whose map it may take. own:
    (L,) float, γ: 1 where the edit's own map stays, 0 where the source's is taken. weight: (L,) float, C:
    what the map of each token is multiplied by.
    """

    source: torch.Tensor
    own: torch.Tensor
    weight: torch.Tensor


class CrossAttentionControl(Control):
    """`M ← C·(γ·M* + (1 − γ)·M′)` while log-SNR, as felt at 512², is at most `until`.

    references: for each branch that is steered, the branch of the reconstruction whose maps are M.
    """

    def __init__(self, mapping: WordMapping, references: Mapping[str, str], *, until: float) -> None:
        self._mapping = mapping
        self._references = dict(references)
        self._until = until
        self._acts = True
        self._run: Run | None = None

    def prepare(self, run: Run) -> None:
        self._run = run
        for site in run.backbone.attention_sites():
            if site.kind is SiteKind.CROSS:
                run.backbone.switchboard.listen(site, self, couples_branches=True)

    def before_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        self._acts = step.felt_log_snr <= self._until
        return latents

    def close(self) -> None:
        if self._run is not None:
            self._run.backbone.switchboard.hush(self)
        self._run = None

    def terms(self, call: AttentionCall) -> Sequence[AttentionMaps]:
        """What happens to the maps of one call of a cross site."""
        pairs = [
            (call.branches.index(branch), call.branches.index(reference))
            for branch, reference in self._references.items()
            if branch in call.branches and reference in call.branches
        ]
        if not self._acts or not pairs:
            return ()

        def edit(maps: torch.Tensor, rows: slice) -> torch.Tensor:
            edited = maps.clone()
            for place, reference in pairs:
                edited[place] = mapped(maps[place], maps[reference], self._mapping)
            return edited

        return (AttentionMaps(edit),)


def mapped(own: torch.Tensor, of_source: torch.Tensor, mapping: WordMapping) -> torch.Tensor:
    """Eq. 7 for maps (…, L): those of the edit and those of the source. Rows are not made to sum to 1 again,
    as in the paper's public code and prompt-to-prompt's.
    """
    stays = mapping.own.to(own)
    taken = of_source[..., mapping.source.to(own.device)]
    return mapping.weight.to(own) * (stays * own + (1 - stays) * taken)


def refine(
    source: Sequence[int], edited: Sequence[int], length: int, first: int, weights: Mapping[int, float]
) -> WordMapping:
    """The mapping between prompts of any length: tokens that the two share, in order, take the source's maps;
    what is new keeps its own.

    source, edited: token ids without start, end and padding; `first` is the position of the first of them
    among the `length`. weights: by position among the edited tokens. Start, end and padding are shared.
    """
    shift = len(source) - len(edited)
    places = torch.arange(length)
    # End and padding stand behind the words, wherever those end.
    behind = places >= first + len(edited)
    places[behind] = (places[behind] + shift).clamp(max=length - 1)
    own = torch.zeros(length)
    own[first : first + len(edited)] = 1
    for block in difflib.SequenceMatcher(None, source, edited, autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            places[first + block.b + offset] = first + block.a + offset
            own[first + block.b + offset] = 0
    return WordMapping(places, own, _weights(length, first, weights))


def replace(
    source: Sequence[int], edited: Sequence[int], length: int, first: int, weights: Mapping[int, float]
) -> WordMapping:
    """The mapping between prompts of one length: every token takes the map of the token in its place, so
    that a new word grows where the old one stood. Raises `ValueError` for prompts of unequal length.
    """
    if len(source) != len(edited):
        raise ValueError(f"Prompts of {len(source)} and {len(edited)} tokens have no token for each other's.")
    return WordMapping(torch.arange(length), torch.zeros(length), _weights(length, first, weights))


def reweigh(length: int, first: int, weights: Mapping[int, float]) -> WordMapping:
    """The mapping under which every token keeps its own map, times its weight."""
    return WordMapping(torch.arange(length), torch.ones(length), _weights(length, first, weights))


def _weights(length: int, first: int, weights: Mapping[int, float]) -> torch.Tensor:
    weight = torch.ones(length)
    for position, value in weights.items():
        weight[first + position] = value
    return weight
