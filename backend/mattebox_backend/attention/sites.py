"""Where attention happens in a backbone, and what one call of it looks like to a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch

from mattebox_backend.attention.terms import Term


class SiteKind(StrEnum):
    """What the queries of a site attend to."""

    SELF = "self"
    CROSS = "cross"
    TEMPORAL = "temporal"


class Reach(StrEnum):
    """Which frames of its branch a frame sees through self attention."""

    OWN = "own"
    ALL = "all"
    """Full-frame attention (ST-Modulator, section 3.4)."""
    FIRST_AND_PREVIOUS = "first and previous"
    """Sparse-causal attention (Tune-A-Video, section 4.1); the first frame of a window sees itself twice."""


@dataclass(frozen=True, slots=True)
class AttentionSite:
    """One attention layer of a backbone.

    reduction: how many times smaller its token grid is than the latents, along each side (1, 2, 4, …).
    """

    name: str
    kind: SiteKind
    reduction: int

    def grid(self, latent_height: int, latent_width: int) -> tuple[int, int]:
        """The token grid (h, w) over latents of a size; every halving of a network rounds up."""
        return -(-latent_height // self.reduction), -(-latent_width // self.reduction)


@dataclass(frozen=True, slots=True)
class CallLayout:
    """How the batch of one call of a backbone is laid out: `branches` × `frames`, over latents of a size.

    frames: which of the clip's edited frames they are. latent_size: (h, w).
    """

    branches: tuple[str, ...]
    frames: range
    latent_size: tuple[int, int]
    reach: Reach


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One call of a site, as the controls that listen there see it.

    branches: the names of the stacked branches. frames: the frames whose tokens are the queries, in order;
    token x of frame i is query `i * h * w + x`. key_frames: at a self site, the same of the keys. At a
    temporal site the frames themselves are queries and keys, and the batch is branches × h·w. grid: (h, w).
    keys: how many keys.
    """

    site: AttentionSite
    branches: tuple[str, ...]
    frames: range
    key_frames: tuple[int, ...]
    grid: tuple[int, int]
    keys: int
    device: torch.device


class AttentionListener(Protocol):
    """What a control puts on a site."""

    def terms(self, call: AttentionCall) -> Sequence[Term]:
        """What happens to the logits, or to the maps, of this call, in order; nothing for plain attention."""
        ...
