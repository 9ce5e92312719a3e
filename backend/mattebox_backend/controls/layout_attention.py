"""Layout-guided attention (ST-Modulator, section 3.4): each region listens to its own words and to itself.

Cross attention (eqs. 2, 3): a token in region k is drawn to the words of region k and away from all others.
Self attention (eqs. 4, 5): a token is drawn to its own region, in every frame, and away from the others; the
background is a region of its own. Strength: `a = λ·ξ(t)·S` with `ξ(t) = t^exponent` and
`S = 1 − area(region of the query) / (tokens that the keys span)`, so that small regions are steered harder.

The paper leaves the background to read what it likes, the regions' words too; small models then draw the
object twice, or beside its region. `LayoutStrength.background` pushes the background away from those words.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from mattebox_backend.attention import AttentionCall, RowExtremes, SiteKind, Term
from mattebox_backend.controls.text_layout import TextLayout
from mattebox_backend.diffusion.control import Control, Run, Step
from mattebox_backend.masks import BACKGROUND


@dataclass(frozen=True, slots=True)
class LayoutStrength:
    """How hard the layout steers, and where.

    cross, self_: λ of the two kinds, in [0, 1]; 0 turns a kind off. background: how hard the background's
    tokens are pushed away from the words of regions, in [0, 1], whatever their area; 0, the paper's, leaves
    them alone; it needs `cross` above 0. window: it steers while the noise level, as log-SNR felt at 512², is
    at most this. exponent: of ξ(t) = t^exponent; 0 is constant strength. smallest_reduction: it steers where
    tokens are at least so many times larger than latent cells, along a side. neutral_specials: whether start,
    end and padding are left alone instead of being pushed away. token_share: of a token from which the
    background leaves it to a region, in (0, ½].
    """

    cross: float
    self_: float
    background: float
    window: float
    exponent: float
    smallest_reduction: int
    neutral_specials: bool
    token_share: float


class LayoutAttention(Control):
    """Steers every branch, the unconditional one too: what differs between branches is the text alone.

    other_texts: names of branches whose text has words of its own, none of which belongs to a region; their
    cross attention is left alone.
    """

    def __init__(self, text: TextLayout, strength: LayoutStrength, other_texts: Collection[str] = ()) -> None:
        self._text = text
        self._strength = strength
        self._other_texts = frozenset(other_texts)
        self._intensity = 0.0
        self._run: Run | None = None
        self._owners: dict[tuple[int, int], torch.Tensor] = {}
        self._words: tuple[torch.Tensor, torch.Tensor] | None = None

    def prepare(self, run: Run) -> None:
        self._run = run
        self._owners = {}
        self._words = None
        for site in run.backbone.attention_sites():
            weight = self._strength.cross if site.kind is SiteKind.CROSS else self._strength.self_
            known = site.kind in (SiteKind.CROSS, SiteKind.SELF)
            if known and weight > 0 and site.reduction >= self._strength.smallest_reduction:
                run.backbone.switchboard.listen(site, self)

    def before_step(self, latents: torch.Tensor, step: Step) -> torch.Tensor:
        inside = step.felt_log_snr <= self._strength.window
        self._intensity = step.time**self._strength.exponent if inside else 0.0
        return latents

    def close(self) -> None:
        if self._run is not None:
            self._run.backbone.switchboard.hush(self)
        self._run = None

    def terms(self, call: AttentionCall) -> Sequence[Term]:
        """The modulation of one attention call; none outside the window."""
        if self._intensity == 0:
            return ()
        owners = self._owners_of(call.grid, call.frames, call.device)
        if call.site.kind is SiteKind.SELF:
            of_keys = self._owners_of(call.grid, call.key_frames, call.device)
            return (self_modulation(owners, of_keys, self._regions, self._strength.self_ * self._intensity),)
        if self._other_texts.issuperset(call.branches):
            return ()
        relation, key_classes = self._relation_to_words(call)
        cross, background = self._strength.cross, self._strength.background
        term = cross_modulation(
            owners, relation, key_classes, cross * self._intensity, background * self._intensity
        )
        if self._other_texts.isdisjoint(call.branches):
            return (term,)
        laid_out = [name not in self._other_texts for name in call.branches]
        steered = torch.tensor(laid_out, dtype=term.strength.dtype, device=call.device)
        return (replace(term, strength=steered.view(-1, 1, 1) * term.strength),)

    @property
    def _regions(self) -> int:
        return len(self._prepared.regions.regions)

    @property
    def _prepared(self) -> Run:
        if self._run is None:
            raise RuntimeError("LayoutAttention steers only between prepare() and close().")
        return self._run

    def _owners_of(self, grid: tuple[int, int], frames: Sequence[int], device: torch.device) -> torch.Tensor:
        """Owners of the tokens of some frames: (frames, h·w) int64."""
        if grid not in self._owners:
            owners = self._prepared.regions.owners(*grid, self._strength.token_share)
            self._owners[grid] = torch.from_numpy(owners).flatten(1).to(device)
        return self._owners[grid][list(frames)]

    def _relation_to_words(self, call: AttentionCall) -> tuple[torch.Tensor, torch.Tensor]:
        if self._words is None:
            parents = self._prepared.regions.parents
            relation = word_relation(self._text, parents, neutral_specials=self._strength.neutral_specials)
            # Text tokens that mean the same to every region are one class of keys.
            classes, key_classes = torch.unique(relation, dim=1, return_inverse=True)
            self._words = classes.to(call.device), key_classes.to(call.device)
        return self._words


def self_modulation(owners: torch.Tensor, of_keys: torch.Tensor, regions: int, weight: float) -> RowExtremes:
    """Eqs. 4 and 5 for tokens (frames, h·w) with owners 0 … `regions`, and keys (key frames, h·w) with
    theirs; `weight` is λ_self·ξ(t).

    The area of a region is its share of all tokens that the keys span.
    """
    flat, flat_keys = owners.flatten(), of_keys.flatten()
    areas = torch.bincount(flat_keys, minlength=regions + 1)
    size_regulation = 1 - areas / flat_keys.numel()
    relation = 2 * torch.eye(regions + 1, dtype=torch.int8, device=owners.device) - 1
    return RowExtremes(flat, flat_keys, relation, weight * size_regulation[flat])


def cross_modulation(
    owners: torch.Tensor,
    relation: torch.Tensor,
    key_classes: torch.Tensor,
    weight: float,
    background_weight: float = 0.0,
) -> RowExtremes:
    """Eqs. 2 and 3 for tokens (frames, h·w); `weight` is λ_cross·ξ(t).

    relation: (regions + 1, classes) of `word_relation`; key_classes: (L,). The text is read by one frame at
    a time, so the area of a region is that in the token's own frame, out of h·w. The background's rows have
    `background_weight`, whatever their area.
    """
    frames, tokens = owners.shape
    areas = torch.zeros(frames, len(relation), device=owners.device)
    areas.scatter_add_(1, owners, torch.ones_like(owners, dtype=areas.dtype))
    size_regulation = (1 - areas / tokens).gather(1, owners)
    strength = torch.where(owners == BACKGROUND, background_weight, weight * size_regulation)
    return RowExtremes(owners.flatten(), key_classes, relation, strength.flatten())


def word_relation(
    text: TextLayout, parents: Sequence[Sequence[int]], *, neutral_specials: bool
) -> torch.Tensor:
    """R of cross attention: (regions + 1, L) int8, row 0 the background, row k + 1 region k.

    +1 for a region's own words; 0 for the words of what it is a part of, unless they are its own too; −1
    for every other token, start, end and padding included (the paper's choice) unless `neutral_specials`.
    For the background −1 for the words of regions, 0 for all else: what is left of the prompt is its own.
    """
    relation = torch.full((len(text.words) + 1, text.length), -1, dtype=torch.int8)
    if neutral_specials:
        relation[:, list(text.specials)] = 0
    for region, words in enumerate(text.words):
        for parent in parents[region]:
            relation[region + 1, list(text.words[parent])] = 0
        relation[region + 1, list(words)] = 1
    relation[BACKGROUND] = 0
    relation[BACKGROUND, sorted({word for words in text.words for word in words})] = -1
    return relation
