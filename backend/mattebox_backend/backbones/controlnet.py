"""A ControlNet: a copy of an image model's encoder that reads a picture of how things are to stand (Zhang et
al., 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel

from mattebox_backend.backbones.folder import NETWORK_FILES, ModelFolder
from mattebox_backend.backbones.stable_diffusion import StableDiffusion, load_weights, ready
from mattebox_backend.device import Device
from mattebox_backend.errors import ModelRefused

_SHARED = ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim", "down_block_types")
"""What a ControlNet and the UNet whose skip connections it adds to must agree on."""


@dataclass(slots=True, eq=False)
class ControlNet:
    """`ControlNetModel` as loaded from a folder; identity: a hash of configuration and weights."""

    name: str
    identity: str
    module: Any

    @classmethod
    def load(cls, folder: ModelFolder, device: Device) -> ControlNet:
        """Load a folder onto a device, in the device's number format.

        Raises `ModelRefused` for another class of model, for weights that are not safetensors, and for
        damaged files.
        """
        kind = folder.config("").get("_class_name")
        if kind != "ControlNetModel":
            raise ModelRefused(
                f"The model {folder.name} is a {kind} and no ControlNetModel; give a ControlNet of Stable "
                "Diffusion 1.5's class."
            )
        module = load_weights(folder, "", device, ControlNetModel.from_pretrained, "torch_dtype")
        return cls(folder.name, folder.identity(("",)), ready(module, device))

    def require_fit(self, backbone: StableDiffusion) -> None:
        """Raise `ModelRefused` where the ControlNet was made for a model of another build."""
        own, model = self.module.config, backbone.unet.config
        for what in _SHARED:
            given, wanted = (_per_level(config[what], what, config) for config in (own, model))
            if given != wanted:
                raise ModelRefused(
                    f"The ControlNet {self.name} does not fit {backbone.name}: its {what} is {given} and the "
                    f"model's is {wanted}; use one that was trained on that model or on one of its family."
                )
        reduction = 2 ** (len(own["conditioning_embedding_out_channels"]) - 1)
        if reduction != backbone.reduction or own["conditioning_channels"] != 3:
            raise ModelRefused(
                f"The ControlNet {self.name} reads pictures of {own['conditioning_channels']} channels and "
                f"{reduction} pixels a latent cell; {backbone.name} needs 3 and {backbone.reduction}."
            )
        if own["class_embed_type"] or own["addition_embed_type"]:
            raise ModelRefused(
                f"The ControlNet {self.name} wants more than a text and a picture; use one of Stable "
                "Diffusion 1.5's class."
            )

    def unload(self) -> None:
        """Give the memory back; it is not usable afterwards."""
        self.module = None

    def residuals(
        self, latents: torch.Tensor, timestep: int, text: torch.Tensor, pictures: torch.Tensor, scale: float
    ) -> dict[str, Any]:
        """What a UNet is given to add within it, for latents (N, C, h, w) at a timestep under texts (N, L, D)
        and pictures (N, 3, H, W) in [0, 1], all of the ControlNet's own number format.
        """
        down, middle = self.module(
            latents,
            timestep,
            encoder_hidden_states=text,
            controlnet_cond=pictures,
            conditioning_scale=scale,
            return_dict=False,
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def open_controlnet(model: Any, device: Device) -> ControlNet:
    """The ControlNet in a folder in diffusers layout, or of a hub repository; see `ControlNet.load`."""
    return ControlNet.load(ModelFolder.open(model, files=NETWORK_FILES), device)


def _per_level(value: Any, what: str, config: Any) -> Any:
    """A value of a configuration, so that two of them can be compared: layers per level, and the blocks of a
    UNet with motion modules by the names of those that they were made from.
    """
    if what == "layers_per_block" and isinstance(value, int):
        return [value] * len(config["block_out_channels"])
    if isinstance(value, list | tuple):
        return [part.replace("Motion", "2D") if isinstance(part, str) else part for part in value]
    return value
