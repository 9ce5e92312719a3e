"""How the frames of a prediction are put to a UNet: a seam between `StableDiffusion` and what it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from mattebox_backend.attention import CallLayout


class UNetCalling(Protocol):
    """One way to call a UNet of diffusers. Frames, text and layout are those of `Backbone.predict`.

    frame_limit: the most frames that fit into one call; None where memory alone is the limit.
    """

    @property
    def frame_limit(self) -> int | None: ...

    def predict(
        self,
        unet: Any,
        latents: torch.Tensor,
        timestep: int,
        text: torch.Tensor,
        layout: CallLayout,
        added: Mapping[str, Any],
    ) -> torch.Tensor:
        """What the UNet makes of latents (B, F, C, h, w): (B, F, C', h, w), both in its own number format.

        text: (B, L, C), or (B, F, L, C). added: further arguments, residuals (B·F, C, h, w) of a ControlNet.
        """
        ...


class FrameByFrame(UNetCalling):
    """For `UNet2DConditionModel`: frames are pictures of one batch, and only attention joins them."""

    @property
    def frame_limit(self) -> int | None:
        return None

    def predict(
        self,
        unet: Any,
        latents: torch.Tensor,
        timestep: int,
        text: torch.Tensor,
        layout: CallLayout,
        added: Mapping[str, Any],
    ) -> torch.Tensor:
        output: torch.Tensor = unet(
            latents.flatten(0, 1),
            timestep,
            encoder_hidden_states=text.flatten(0, -3),
            cross_attention_kwargs={"layout": layout},
            return_dict=False,
            **added,
        )[0]
        return output.view(*latents.shape[:2], *output.shape[1:])
