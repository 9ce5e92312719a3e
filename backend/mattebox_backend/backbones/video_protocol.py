"""What a method may ask of a loaded image-to-video model, whatever its family.

Such a model sees a clip whole: its latents stand for several frames each, and beside them it is given a
condition, what is known of the clip and where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.backbones.protocol import WorkingSize
from mattebox_backend.device import Device
from mattebox_backend.diffusion.flow import FlowSchedule

TOKENS_TOGETHER = 8192
"""Up to so many tokens, the branches of a step run as one batch; beyond it a batch saves no time and takes
its memory twice.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A prompt, and the picture that goes with it, as a network is told them: its keyword arguments that
    follow from both, each with a batch axis of 1.
    """

    inputs: Mapping[str, torch.Tensor]


class VideoBackbone(Protocol):
    """A loaded image-to-video model.

    name: what was asked for. identity: a hash of configuration and weights. defaults: the parameters per
    method that this model does best with (its `mattebox.json`). network: what predicts; adapters are put into
    it, and its parameters are frozen. vae: the autoencoder, in float32.

    An outline of one has networks without content, for what follows from their shapes; its identity is empty,
    and it neither encodes nor predicts.
    """

    name: str
    identity: str
    device: Device
    defaults: Mapping[str, Mapping[str, bool | int | float | str]]
    schedule: FlowSchedule
    network: torch.nn.Module
    vae: torch.nn.Module

    @property
    def frame_stride(self) -> int:
        """How many frames a latent frame stands for; the first stands for one alone."""
        ...

    @property
    def latent_channels(self) -> int:
        """C of its latents."""
        ...

    @property
    def frame_limit(self) -> int | None:
        """The most frames that the model was made for; longer clips go in windows. None: not known."""
        ...

    @property
    def blocks(self) -> Sequence[torch.nn.Module]:
        """The network's transformer blocks in the order in which they run: nearly all of its weights."""
        ...

    @property
    def prompt_bytes(self) -> int:
        """Of the weights that are on the device together while a prompt is encoded."""
        ...

    def adapter_layers(self, *, feed_forward: bool) -> tuple[str, ...]:
        """The linear layers in the blocks that an adapter is put on, by their names in the network: those of
        attention, but for the keys and values of the picture, and with `feed_forward` the others.
        """
        ...

    def working_size(self, width: int, height: int, side: int = 0) -> WorkingSize:
        """See `Backbone.working_size`."""
        ...

    def encode(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """Latents (T, C, h, w) float32, the mode of the encoder, of k·stride + 1 frames (F, H, W, 3) uint8 at
        working size; T = k + 1.
        """
        ...

    def decode(self, latents: torch.Tensor) -> Iterator[NDArray[np.float32]]:
        """Frames (H, W, 3) float32 in [0, 1], one by one, of latents (T, C, h, w)."""
        ...

    def condition(self, frames: NDArray[np.uint8], known: NDArray[np.bool_]) -> torch.Tensor:
        """What is known of a clip, as the network reads it: (T, K, h, w) float32, of the frames (F, H, W, 3)
        uint8 and of where they are known, (F, H, W). What is not known does not enter it.
        """
        ...

    def prompt(self, text: str, picture: NDArray[np.uint8]) -> Prompt:
        """A text and the picture (H, W, 3) uint8 that the clip begins with. Raises `InvalidEdit` for a text
        that is longer than the text encoder reads.
        """
        ...

    def predict(
        self,
        latents: torch.Tensor,
        timestep: float,
        condition: torch.Tensor,
        prompts: Sequence[Prompt],
    ) -> torch.Tensor:
        """The velocity in latents (B, T, C, h, w) at a timestep, under a condition (T, K, h, w) that all
        share and a prompt each: like latents, float32. Differentiable with respect to the network's
        parameters.
        """
        ...

    def saving_memory(self) -> AbstractContextManager[None]:
        """Within the block, a prediction whose gradient is wanted keeps little and computes the rest again
        (gradient checkpointing).
        """
        ...

    def unload(self) -> None:
        """Give the memory back; the backbone is not usable afterwards."""
        ...


def padded_length(frames: int, stride: int) -> int:
    """The least k·stride + 1 that is not below a number of frames: what an image-to-video model takes."""
    return -(-(frames - 1) // stride) * stride + 1
