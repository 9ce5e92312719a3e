"""Listeners on attention sites, and the processor that asks them.

The processor is the hook that `diffusers` offers on each of its attention modules; it is also where
attention over one picture becomes attention over a whole clip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from mattebox_backend.attention.kernels import attend
from mattebox_backend.attention.sites import AttentionCall, AttentionListener, AttentionSite, SiteKind
from mattebox_backend.attention.terms import Term


@dataclass(frozen=True, slots=True)
class _Clip:
    """How the batch of the call in progress is laid out: `branches` × `frames`, over latents of a size."""

    branches: tuple[str, ...]
    frames: int
    latent_size: tuple[int, int]
    full_frame: bool


class Switchboard:
    """Connects controls with the attention sites of one backbone."""

    def __init__(self, sites: tuple[AttentionSite, ...]) -> None:
        self.sites = sites
        self._listeners: dict[str, list[AttentionListener]] = defaultdict(list)
        self._clip: _Clip | None = None

    def listen(self, site: AttentionSite, listener: AttentionListener) -> None:
        """Ask `listener` at every call of `site` from now on, after those that listen there already."""
        self._listeners[site.name].append(listener)

    def listeners(self, site: AttentionSite) -> tuple[AttentionListener, ...]:
        """Who listens on a site, in order."""
        return tuple(self._listeners.get(site.name, ()))

    def hush(self, listener: AttentionListener) -> None:
        """Take a listener off every site."""
        for listeners in self._listeners.values():
            while listener in listeners:
                listeners.remove(listener)

    @contextmanager
    def calling(
        self, branches: tuple[str, ...], frames: int, latent_size: tuple[int, int], *, full_frame: bool
    ) -> Iterator[None]:
        """Within the block, the backbone is called with `branches` × `frames` latents of (h, w)."""
        self._clip = _Clip(branches, frames, latent_size, full_frame)
        try:
            yield
        finally:
            self._clip = None

    @property
    def clip(self) -> _Clip:
        """The layout of the call in progress."""
        if self._clip is None:
            raise RuntimeError("An attention site was called outside Switchboard.calling().")
        return self._clip

    def terms(self, site: AttentionSite, frames: range, keys: int, device: torch.device) -> list[Term]:
        """What all listeners of a site ask for, in the order in which they began to listen."""
        listeners = self._listeners.get(site.name)
        if not listeners:
            return []
        call = AttentionCall(
            site, self.clip.branches, frames, site.grid(*self.clip.latent_size), keys, device
        )
        return [term for listener in listeners for term in listener.terms(call)]


class SiteProcessor:
    """The attention processor of one site: projections of the module, terms of the listeners, our kernels.

    hidden states: (branches × frames, h·w, C); text states: (branches, L, C), one text for all frames of a
    branch.
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
        **_: object,
    ) -> torch.Tensor:
        if attention_mask is not None:
            raise ValueError(f"The attention site {self._site.name} takes no attention mask.")
        clip = self._switchboard.clip
        branches = len(clip.branches)
        keys_from = hidden_states if self._site.kind is SiteKind.SELF else encoder_hidden_states
        if keys_from is None:
            raise ValueError(f"The cross-attention site {self._site.name} was called without text states.")
        query = _split_heads(attn.to_q(hidden_states), branches, attn.heads)
        key = _split_heads(attn.to_k(keys_from), branches, attn.heads)
        value = _split_heads(attn.to_v(keys_from), branches, attn.heads)
        if self._site.kind is SiteKind.SELF and not clip.full_frame:
            attended = self._within_frames(query, key, value, clip.frames)
        else:
            terms = self._switchboard.terms(self._site, range(clip.frames), key.shape[-2], query.device)
            attended = attend(query, key, value, terms)
        merged = attended.transpose(1, 2).reshape(*hidden_states.shape[:2], -1)
        output: torch.Tensor = attn.to_out[1](attn.to_out[0](merged))
        return output

    def _within_frames(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, frames: int
    ) -> torch.Tensor:
        """Every query attends to its own frame only."""
        output = torch.empty_like(query)
        count = query.shape[-2] // frames
        for frame in range(frames):
            tokens = (..., slice(frame * count, (frame + 1) * count), slice(None))
            terms = self._switchboard.terms(self._site, range(frame, frame + 1), count, query.device)
            output[tokens] = attend(query[tokens], key[tokens], value[tokens], terms)
        return output


def _split_heads(projected: torch.Tensor, branches: int, heads: int) -> torch.Tensor:
    """(branches × frames, n, heads × d) → (branches, heads, frames × n, d); for text, frames is 1."""
    return projected.reshape(branches, -1, heads, projected.shape[-1] // heads).transpose(1, 2)
