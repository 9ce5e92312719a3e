"""AnimateDiff: Stable Diffusion 1.5's class with motion modules, which attend over time at every place
(Guo et al., 2024, section 4.2). All but the UNet and the way it is called is `StableDiffusion`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.utils import logging as diffusers_logging
from torch import nn
from torch.utils.checkpoint import checkpoint

from mattebox_backend.attention import CallLayout
from mattebox_backend.backbones.calling import UNetCalling
from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.backbones.stable_diffusion import (
    COMPONENTS,
    StableDiffusion,
    check_family,
    load_weights,
    ready,
    refusing,
)
from mattebox_backend.device import Device
from mattebox_backend.errors import ModelRefused

_ADAPTER = "motion_adapter"
_SD_CHANNELS = (320, 640, 1280, 1280)
"""What diffusers takes where a configuration does not say."""


def load_animatediff(folder: ModelFolder, device: Device) -> StableDiffusion:
    """Load a folder that holds a `UNetMotionModel`, or motion modules (`motion_adapter`) and an image UNet,
    of its own or of its base, onto a device.

    Raises `ModelRefused` as `StableDiffusion.load` does, and for motion modules that do not fit the UNet.
    """
    kind = check_family(folder, ("UNetMotionModel", "UNet2DConditionModel"))
    if kind == "UNetMotionModel":
        unet = load_weights(folder, "unet", device, UNetMotionModel.from_pretrained, "torch_dtype")
        components: tuple[str, ...] = COMPONENTS
    else:
        _check_fit(folder)
        image = load_weights(folder, "unet", device, UNet2DConditionModel.from_pretrained, "torch_dtype")
        adapter = load_weights(folder, _ADAPTER, device, MotionAdapter.from_pretrained, "torch_dtype")
        with refusing(folder, _ADAPTER):
            unet = set_in_motion(image, adapter)
        components = (*COMPONENTS, _ADAPTER)
    unet = ready(unet, device)
    return StableDiffusion.around(unet, folder, device, components, ClipByClip(unet))


def set_in_motion(unet: UNet2DConditionModel, adapter: MotionAdapter) -> UNetMotionModel:
    """A UNet for clips with copies of the weights of both."""
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()  # it warns of a cast to the number format that it has already
    try:
        return UNetMotionModel.from_unet2d(unet, adapter)
    finally:
        diffusers_logging.set_verbosity(verbosity)


class ClipByClip(UNetCalling):
    """For `UNetMotionModel`: the frames of a branch are a clip, and motion modules join them.

    `UNetMotionModel` tells its spatial attention how a call is laid out, but not its motion modules: each of
    them is put into a `MotionModule`, which hears of it from here.
    """

    def __init__(self, unet: UNetMotionModel) -> None:
        self._limit = int(unet.config.motion_max_seq_length)
        self._layout: CallLayout | None = None
        for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
            for place, module in enumerate(getattr(block, "motion_modules", ())):
                block.motion_modules[place] = MotionModule(module, lambda: self._layout)

    @property
    def frame_limit(self) -> int:
        return self._limit

    def predict(
        self,
        unet: Any,
        latents: torch.Tensor,
        timestep: int,
        text: torch.Tensor,
        layout: CallLayout,
        added: Mapping[str, Any],
    ) -> torch.Tensor:
        self._layout = layout
        try:
            output: torch.Tensor = unet(
                latents.transpose(1, 2),
                timestep,
                encoder_hidden_states=text.flatten(0, -3),
                cross_attention_kwargs={"layout": layout},
                return_dict=False,
                **added,
            )[0]
        finally:
            self._layout = None
        return output.transpose(1, 2)


class MotionModule(nn.Module):
    """A motion module of diffusers that is told the layout of its call, and that can be computed again for
    its gradient.

    gradient_checkpointing: set by diffusers, on everything that has it.
    """

    def __init__(self, module: nn.Module, layout: Callable[[], CallLayout | None]) -> None:
        super().__init__()
        self.module = module
        self._layout = layout
        self.gradient_checkpointing = False
        self._gradient_checkpointing_func: Callable[..., torch.Tensor] = checkpoint

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        timestep: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
        num_frames: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        """hidden_states: (branches × frames, C, h, w), as diffusers' own takes them."""
        # Bound here, so that what is computed again is laid out as it was, whatever has been called since.
        told = {"layout": self._layout()}
        inputs = (hidden_states, encoder_hidden_states, timestep, class_labels, num_frames, told)
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(self.module, *inputs)
        output: torch.Tensor = self.module(*inputs)
        return output


def _check_fit(folder: ModelFolder) -> None:
    """Whether motion modules and UNet have the same levels, as far as their configurations say."""
    if not folder.place(_ADAPTER).is_dir():
        raise ModelRefused(
            f"The model {folder.name} has neither a UNetMotionModel nor a {_ADAPTER} folder; fetch the whole "
            "model, or load its base, the image model, by that name."
        )
    unet, motion = folder.config("unet"), folder.config(_ADAPTER)
    kind = motion.get("_class_name")
    if kind != "MotionAdapter":
        raise ModelRefused(
            f"The {_ADAPTER} of the model {folder.name} is a {kind}; only MotionAdapter is known."
        )
    if motion.get("conv_in_channels"):
        raise ModelRefused(
            f"The {_ADAPTER} of the model {folder.name} takes a picture beside the latents; only motion "
            "modules that go by text alone are known."
        )
    channels = (_channels(motion), _channels(unet))
    if channels[0] != channels[1]:
        raise _misfit(folder, "channels", *channels)
    layers = (
        _per_level(motion.get("motion_layers_per_block", 2), channels[0]),
        _per_level(unet.get("layers_per_block", 2), channels[1]),
    )
    if layers[0] != layers[1]:
        raise _misfit(folder, "layers", *layers)


def _channels(config: dict[str, object]) -> tuple[object, ...]:
    channels = config.get("block_out_channels", _SD_CHANNELS)
    return tuple(channels) if isinstance(channels, list | tuple) else (channels,)


def _per_level(value: object, levels: tuple[object, ...]) -> tuple[object, ...]:
    """A value of a configuration that holds for all levels, or one for each."""
    return tuple(value) if isinstance(value, list | tuple) else (value,) * len(levels)


def _misfit(
    folder: ModelFolder, what: str, given: tuple[object, ...], wanted: tuple[object, ...]
) -> ModelRefused:
    made_for, has = (", ".join(map(str, numbers)) for numbers in (given, wanted))
    return ModelRefused(
        f"The {_ADAPTER} of the model {folder.name} is made for a UNet whose levels have {made_for} {what}, "
        f"and those of its UNet have {has}; use the image model that it was trained on as its base."
    )
