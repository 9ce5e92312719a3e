"""What a method may ask of a loaded diffusion model, whatever its family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.attention import AttentionSite, Reach, Switchboard
from mattebox_backend.device import Device
from mattebox_backend.diffusion.schedule import NoiseSchedule
from mattebox_backend.errors import InvalidEdit


@dataclass(frozen=True, slots=True, eq=False)
class TextEmbedding:
    """A prompt as a backbone reads it.

    states: (L, C), start, end and padding included. words: token ids without those. first: the position of
    `words[0]` among the L.
    """

    states: torch.Tensor
    words: tuple[int, ...]
    first: int


@dataclass(frozen=True, slots=True)
class WorkingSize:
    """Pixels that a backbone works at, and the latents that they become."""

    width: int
    height: int
    latent_width: int
    latent_height: int


class Backbone(Protocol):
    """A loaded model.

    name: what was asked for. identity: a hash of configuration and weights. defaults: the parameters per
    method that this model does best with (its `mattebox.json`).
    """

    name: str
    identity: str
    device: Device
    defaults: Mapping[str, Mapping[str, bool | int | float | str]]
    schedule: NoiseSchedule
    switchboard: Switchboard

    @property
    def frame_limit(self) -> int | None:
        """The most frames of one prediction, where the model was made for so many and no more; longer clips
        go in windows. None: as many as memory holds.
        """
        ...

    def working_size(self, width: int, height: int, side: int = 0) -> WorkingSize:
        """The size to work at for frames of a size: their aspect, the area of a square of `side` pixels (0:
        the size that the model was trained at), rounded to what the network divides by.
        """
        ...

    def encode(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """Latents (n, C, h, w) float32, the mean of the encoder, of frames (n, H, W, 3) uint8 at working
        size.
        """
        ...

    def decode(self, latents: torch.Tensor) -> Iterator[NDArray[np.float32]]:
        """Frames (H, W, 3) float32 in [0, 1], one by one, of latents (n, C, h, w)."""
        ...

    def tokens(self, text: str) -> tuple[int, ...]:
        """The token ids of a text, without start, end and padding; of any length."""
        ...

    def embed(self, prompt: str) -> TextEmbedding:
        """A prompt encoded. Raises `InvalidEdit` when it is longer than the text encoder reads."""
        ...

    def predict(
        self,
        latents: torch.Tensor,
        timestep: int,
        text: torch.Tensor,
        branches: Sequence[str],
        *,
        frames: range | None = None,
        reach: Reach = Reach.ALL,
    ) -> torch.Tensor:
        """The noise in latents (B, F, C, h, w) at a timestep under texts (B, L, C), or (B, F, L, C) where
        every frame has its own: like latents, float32.

        frames: which of the edited frames they are; None: the first F. Differentiable with respect to latents
        and text. Raises `InvalidEdit` for more frames than `frame_limit`.
        """
        ...

    def saving_memory(self) -> AbstractContextManager[None]:
        """Within the block, a prediction whose gradient is wanted keeps little and computes the rest again
        (gradient checkpointing).
        """
        ...

    def attention_sites(self) -> tuple[AttentionSite, ...]:
        """Where attention happens."""
        ...

    def unload(self) -> None:
        """Give the memory back; the backbone is not usable afterwards."""
        ...


_WINDOWS = "denoise the clip in overlapping windows (window_frames) of at most {limit}, or edit fewer"


def check_frames(backbone: Backbone, frames: int, remedy: str = _WINDOWS) -> None:
    """Raise `InvalidEdit` where a backbone does not take so many frames at once. remedy: what to do about it,
    with a place for the limit.
    """
    limit = backbone.frame_limit
    if limit is not None and frames > limit:
        raise InvalidEdit(
            f"{backbone.name} knows the motion of at most {limit} frames at once and is given {frames}; "
            f"{remedy.format(limit=limit)}."
        )
