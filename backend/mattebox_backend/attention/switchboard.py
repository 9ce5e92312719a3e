"""Listeners on attention sites, and the processor that asks them.

The processor is the hook that `diffusers` offers on each of its attention modules; it is also where
attention over one picture becomes attention over a whole clip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from mattebox_backend.attention.kernels import attend
from mattebox_backend.attention.sites import (
    AttentionCall,
    AttentionListener,
    AttentionSite,
    CallLayout,
    Reach,
    SiteKind,
)
from mattebox_backend.attention.terms import Term


class Switchboard:
    """Connects controls with the attention sites of one backbone."""

    def __init__(self, sites: tuple[AttentionSite, ...]) -> None:
        self.sites = sites
        self._listeners: dict[str, list[AttentionListener]] = defaultdict(list)
        self._coupling: list[AttentionListener] = []

    def listen(
        self, site: AttentionSite, listener: AttentionListener, *, couples_branches: bool = False
    ) -> None:
        """Ask `listener` at every call of `site` from now on, after those that listen there already.

        couples_branches: it reads one branch to change another, so that they must stay in one call.
        """
        self._listeners[site.name].append(listener)
        if couples_branches and listener not in self._coupling:
            self._coupling.append(listener)

    def listeners(self, site: AttentionSite) -> tuple[AttentionListener, ...]:
        """Who listens on a site, in order."""
        return tuple(self._listeners.get(site.name, ()))

    @property
    def couples_branches(self) -> bool:
        """Whether anyone who listens needs all branches in one call."""
        return bool(self._coupling)

    def hush(self, listener: AttentionListener) -> None:
        """Take a listener off every site."""
        for listeners in (*self._listeners.values(), self._coupling):
            while listener in listeners:
                listeners.remove(listener)

    @contextmanager
    def listening(self, sites: Iterable[AttentionSite], listener: AttentionListener) -> Iterator[None]:
        """Within the block, `listener` is asked at these sites."""
        for site in sites:
            self.listen(site, listener)
        try:
            yield
        finally:
            self.hush(listener)

    def terms(self, call: AttentionCall) -> list[Term]:
        """What all listeners of a site ask for, in the order in which they began to listen."""
        listeners = self._listeners.get(call.site.name, ())
        return [term for listener in listeners for term in listener.terms(call)]


_SEEN: Mapping[Reach, Callable[[int], tuple[int, ...]]] = {
    Reach.OWN: lambda place: (place,),
    Reach.FIRST_AND_PREVIOUS: lambda place: (0, max(0, place - 1)),
}
"""The places in a call of the frames that are seen from one."""


class SiteProcessor:
    """The attention processor of one site: projections of the module, terms of the listeners, our kernels.

    hidden states: (branches × frames, h·w, C), at a temporal site (branches × h·w, frames, C). Text states:
    (branches, L, C), one text for all frames of a branch, or (branches × frames, L, C), one for each.
    The layout comes with every call (not from the switchboard) so that a pass that is computed again, for
    its gradient, is laid out as it was.
    """

    def __init__(self, site: AttentionSite, switchboard: Switchboard) -> None:
        self._site = site
        self._switchboard = switchboard

    def __call__(
        self,
        attn: Any,  # diffusers.models.attention_processor.Attention
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        layout: CallLayout | None = None,
        **_: object,
    ) -> torch.Tensor:
        if layout is None:
            raise RuntimeError(f"The attention site {self._site.name} was called without a layout.")
        if attention_mask is not None:
            raise ValueError(f"The attention site {self._site.name} takes no attention mask.")
        cross = self._site.kind is SiteKind.CROSS
        keys_from = encoder_hidden_states if cross else hidden_states
        if keys_from is None:
            raise ValueError(f"The cross-attention site {self._site.name} was called without text states.")
        temporal = self._site.kind is SiteKind.TEMPORAL
        groups = len(hidden_states) if temporal else len(layout.branches)
        query = _split_heads(attn.to_q(hidden_states), groups, attn.heads)
        key = _split_heads(attn.to_k(keys_from), groups, attn.heads)
        value = _split_heads(attn.to_v(keys_from), groups, attn.heads)
        if cross and len(keys_from) > len(layout.branches):
            attended = self._frame_by_frame(query, key, value, layout, lambda place: (place,))
        elif self._site.kind is SiteKind.SELF and layout.reach is not Reach.ALL:
            attended = self._frame_by_frame(query, key, value, layout, _SEEN[layout.reach])
        else:
            attended = self._attend(query, key, value, layout, layout.frames, layout.frames)
        merged = attended.transpose(1, 2).reshape(*hidden_states.shape[:2], -1)
        output: torch.Tensor = attn.to_out[1](attn.to_out[0](merged))
        return output

    def _frame_by_frame(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layout: CallLayout,
        seen_from: Callable[[int], tuple[int, ...]],
    ) -> torch.Tensor:
        """Every query attends to the keys of the frames that are seen from its own."""
        frames = layout.frames
        keys, values = key.chunk(len(frames), 2), value.chunk(len(frames), 2)
        attended = []
        for place, of_frame in enumerate(query.chunk(len(frames), 2)):
            seen = seen_from(place)
            attended.append(
                self._attend(
                    of_frame,
                    torch.cat([keys[other] for other in seen], 2),
                    torch.cat([values[other] for other in seen], 2),
                    layout,
                    frames[place : place + 1],
                    [frames[other] for other in seen],
                )
            )
        return torch.cat(attended, 2)

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layout: CallLayout,
        frames: range,
        key_frames: Sequence[int],
    ) -> torch.Tensor:
        site = self._site
        call = AttentionCall(
            site,
            layout.branches,
            frames,
            tuple(key_frames) if site.kind is SiteKind.SELF else (),
            site.grid(*layout.latent_size),
            key.shape[-2],
            query.device,
        )
        return attend(query, key, value, self._switchboard.terms(call))


def _split_heads(projected: torch.Tensor, groups: int, heads: int) -> torch.Tensor:
    """(groups × frames, n, heads × d) → (groups, heads, frames × n, d)."""
    return projected.reshape(groups, -1, heads, projected.shape[-1] // heads).transpose(1, 2)
