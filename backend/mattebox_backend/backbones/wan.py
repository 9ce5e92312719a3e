"""Wan image-to-video: `WanTransformer3DModel` with 36 input channels, its causal video autoencoder, UMT5, and
the picture half of CLIP (Wan, arXiv 2503.20314; Wan2.1-I2V).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from numpy.typing import NDArray
from transformers import AutoTokenizer, CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import logging as transformers_logging

from mattebox_backend.backbones.folder import ModelFolder, ParameterValue
from mattebox_backend.backbones.protocol import WorkingSize
from mattebox_backend.backbones.stable_diffusion import load_weights, refusing
from mattebox_backend.backbones.video_parts import (
    computing_again,
    fitted_size,
    flow_schedule,
    frozen,
    lent,
    outlined,
    pixels,
    released,
    to_frames,
    velocity,
    weight_bytes,
    whole,
)
from mattebox_backend.backbones.video_protocol import Prompt
from mattebox_backend.device import Device
from mattebox_backend.diffusion.flow import FlowSchedule
from mattebox_backend.errors import InvalidEdit, ModelRefused
from mattebox_backend.masks import whole_cells

COMPONENTS = ("transformer", "vae", "text_encoder", "tokenizer", "image_encoder", "image_processor")
TEXT_LENGTH = 512
"""Tokens that the transformer is given of every text; it tells them from those of the picture by that."""
FRAME_STRIDE = 4


@dataclass(slots=True, eq=False)
class Wan:
    """A model of the Wan image-to-video family, as loaded from one folder."""

    name: str
    identity: str
    device: Device
    defaults: Mapping[str, Mapping[str, ParameterValue]]
    schedule: FlowSchedule
    network: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    image_encoder: Any
    image_processor: Any
    frames: int | None
    side: int

    @classmethod
    def load(cls, folder: ModelFolder, device: Device) -> Wan:
        """Load a folder onto a device, in the device's number format; autoencoder and picture half in
        float32, as Wan runs them.

        Raises `ModelRefused` for another family, for weights that are not safetensors, and for damaged files.
        """
        check_family(folder)
        transformers_logging.disable_progress_bar()  # a server's log is no place for it
        exact = replace(device, precision="float32")
        network = load_weights(
            folder, "transformer", device, WanTransformer3DModel.from_pretrained, "torch_dtype"
        )
        vae = load_weights(folder, "vae", exact, AutoencoderKLWan.from_pretrained, "torch_dtype")
        text_encoder = load_weights(folder, "text_encoder", device, UMT5EncoderModel.from_pretrained, "dtype")
        image_encoder = load_weights(folder, "image_encoder", exact, CLIPVisionModel.from_pretrained, "dtype")
        with refusing(folder, "tokenizer or image processor"):
            tokenizer = AutoTokenizer.from_pretrained(folder.place("tokenizer"), local_files_only=True)
            processor = CLIPImageProcessorPil.from_pretrained(
                folder.place("image_processor"), local_files_only=True
            )
        return cls._of(
            folder,
            device,
            folder.identity(COMPONENTS),
            network,  # a block swap brings it to the device: it may not fit there whole
            channels_last(vae, device),
            text_encoder,
            tokenizer,
            image_encoder,
            processor,
        )

    @classmethod
    def outline(cls, folder: ModelFolder, device: Device) -> Wan:
        """The same from configurations alone: see `VideoBackbone`."""
        check_family(folder)
        with outlined(folder):
            network = WanTransformer3DModel.from_config(folder.config("transformer"))
            vae = AutoencoderKLWan.from_config(folder.config("vae"))
            text_encoder = UMT5EncoderModel(UMT5Config.from_dict(folder.config("text_encoder")))
            image_encoder = CLIPVisionModel(CLIPVisionConfig.from_dict(folder.config("image_encoder")))
        return cls._of(folder, device, "", network, vae, text_encoder, None, image_encoder, None)

    @classmethod
    def _of(
        cls,
        folder: ModelFolder,
        device: Device,
        identity: str,
        network: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        image_encoder: Any,
        image_processor: Any,
    ) -> Wan:
        about = folder.config("", "mattebox.json") if (folder.path / "mattebox.json").is_file() else {}
        return cls(
            folder.name,
            identity,
            device,
            folder.defaults(),
            flow_schedule(folder),
            frozen(network),
            frozen(vae),
            frozen(text_encoder),
            tokenizer,
            frozen(image_encoder),
            image_processor,
            whole(about.get("frames"), 81),
            whole(about.get("side"), 624),
        )

    @property
    def frame_stride(self) -> int:
        """See `VideoBackbone.frame_stride`."""
        return int(self.vae.config.scale_factor_temporal)

    @property
    def latent_channels(self) -> int:
        """See `VideoBackbone.latent_channels`."""
        return int(self.vae.config.z_dim)

    @property
    def frame_limit(self) -> int | None:
        """See `VideoBackbone.frame_limit`."""
        return self.frames

    @property
    def blocks(self) -> Sequence[torch.nn.Module]:
        """See `VideoBackbone.blocks`."""
        return tuple(self.network.blocks)

    @property
    def prompt_bytes(self) -> int:
        """See `VideoBackbone.prompt_bytes`: the text comes first, then the picture."""
        return max(
            weight_bytes(self.text_encoder, self.device.dtype),
            weight_bytes(self.image_encoder, torch.float32),
        )

    def adapter_layers(self, *, feed_forward: bool) -> tuple[str, ...]:
        """See `VideoBackbone.adapter_layers`."""
        wanted = [
            f"blocks.{block}.{attention}.{layer}"
            for block in range(len(self.network.blocks))
            for attention in ("attn1", "attn2")
            for layer in ("to_q", "to_k", "to_v", "to_out.0")
        ]
        if feed_forward:
            wanted += [
                f"blocks.{block}.ffn.net.{layer}"
                for block in range(len(self.network.blocks))
                for layer in ("0.proj", "2")
            ]
        return tuple(wanted)

    def working_size(self, width: int, height: int, side: int = 0) -> WorkingSize:
        """See `VideoBackbone.working_size`."""
        reduction = int(self.vae.config.scale_factor_spatial)
        step = reduction * int(self.network.config.patch_size[1])
        return fitted_size(width, height, side or self.side, step, reduction)

    @torch.no_grad()
    def encode(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """See `VideoBackbone.encode`."""
        return self._latents(pixels(frames))

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> Iterator[NDArray[np.float32]]:
        """See `VideoBackbone.decode`."""
        mean, spread = self._statistics()
        with lent(self.vae, self.device):
            given = latents.to(self.device.torch).transpose(0, 1).unsqueeze(0)
            decoded = self.vae.decode(given * spread + mean).sample[0]
        yield from to_frames(decoded)

    @torch.no_grad()
    def condition(self, frames: NDArray[np.uint8], known: NDArray[np.bool_]) -> torch.Tensor:
        """See `VideoBackbone.condition`: 4 channels of packed mask, 16 of latents of the clip with grey where
        it is not known (mask-aware LoRA, section 3.2).
        """
        seen = pixels(frames) * torch.from_numpy(np.ascontiguousarray(known)).float()
        latents = self._latents(seen)
        cells = torch.from_numpy(whole_cells(known, *latents.shape[-2:])).float()
        return torch.cat([pack_mask(cells, self.frame_stride).to(latents), latents], dim=1)

    @torch.no_grad()
    def prompt(self, text: str, picture: NDArray[np.uint8]) -> Prompt:
        """See `VideoBackbone.prompt`."""
        inputs = {"encoder_hidden_states": self._text_states(text)}
        if self.network.config.image_dim is not None:
            given = self.image_processor(
                [picture], return_tensors="pt", input_data_format="channels_last"
            ).pixel_values
            with lent(self.image_encoder, self.device):
                seen = self.image_encoder(given.to(self.device.torch), output_hidden_states=True)
            inputs["encoder_hidden_states_image"] = seen.hidden_states[-2].to(self.device.dtype)
        return Prompt(inputs)

    def predict(
        self,
        latents: torch.Tensor,
        timestep: float,
        condition: torch.Tensor,
        prompts: Sequence[Prompt],
    ) -> torch.Tensor:
        """See `VideoBackbone.predict`."""
        return velocity(self.network, self.device, latents, timestep, condition, prompts)

    def saving_memory(self) -> AbstractContextManager[None]:
        """See `VideoBackbone.saving_memory`."""
        return computing_again(self.network)

    def unload(self) -> None:
        """See `VideoBackbone.unload`."""
        self.network = self.vae = self.text_encoder = self.image_encoder = None
        released(self.device)

    def _latents(self, given: torch.Tensor) -> torch.Tensor:
        """Of (C, F, H, W) in [-1, 1]: (T, C, h, w) float32, each channel of mean 0 and variance 1."""
        mean, spread = self._statistics()
        with lent(self.vae, self.device):
            found = self.vae.encode(given.to(self.device.torch).unsqueeze(0)).latent_dist.mode()
        return torch.as_tensor(((found - mean) / spread)[0].transpose(0, 1).float())

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        config, device = self.vae.config, self.device.torch
        return (
            torch.tensor(config.latents_mean, device=device).view(1, -1, 1, 1, 1),
            torch.tensor(config.latents_std, device=device).view(1, -1, 1, 1, 1),
        )

    def _text_states(self, text: str) -> torch.Tensor:
        """(1, 512, C): zero where there is no token, as Wan was trained."""
        count = len(self.tokenizer(text, verbose=False).input_ids)
        if count > TEXT_LENGTH:
            raise InvalidEdit(
                f"The prompt {text[:57]!r}… is {count} tokens long and {self.name} reads {TEXT_LENGTH}; "
                "shorten it."
            )
        given = self.tokenizer(text, padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt")
        mask = given.attention_mask.to(self.device.torch)
        with lent(self.text_encoder, self.device):
            states = self.text_encoder(given.input_ids.to(self.device.torch), mask).last_hidden_state
        return torch.as_tensor((states * mask.unsqueeze(-1)).to(self.device.dtype))


def pack_mask(cells: torch.Tensor, stride: int) -> torch.Tensor:
    """A mask per frame (F, h, w) as Wan reads it: (T, stride, h, w), 1 = known.

    The first frame stands alone in its latent frame and is repeated; then every `stride` frames become the
    channels of one. Nothing is averaged: the mask is packed, not pooled.
    """
    first = cells[:1].expand(stride, *cells.shape[1:])
    together = torch.cat([first, cells[1:]])
    return together.view(-1, stride, *cells.shape[1:])


def channels_last(vae: Any, device: Device) -> Any:
    """The autoencoder with its convolutions' weights laid out with their channels last, where that is faster
    (a CPU takes half the time).
    """
    if device.kind == "cpu":
        for module in vae.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.weight.data = module.weight.data.to(memory_format=torch.channels_last_3d)
    return vae


def check_family(folder: ModelFolder) -> None:
    """Raise `ModelRefused` unless the folder holds an image-to-video model of Wan 2.1's make."""
    if not folder.place("transformer").is_dir():
        raise ModelRefused(f"The model {folder.name} has no transformer folder; Wan's models have one.")
    transformer, vae = folder.config("transformer"), folder.config("vae")
    kind = transformer.get("_class_name")
    if kind != "WanTransformer3DModel" or vae.get("_class_name") != "AutoencoderKLWan":
        raise ModelRefused(
            f"The model {folder.name} is a {kind} with {vae.get('_class_name')}; only "
            "WanTransformer3DModel with AutoencoderKLWan is known here."
        )
    latents = vae.get("z_dim", 16)
    channels = transformer.get("in_channels")
    if not isinstance(latents, int) or channels != 2 * latents + FRAME_STRIDE:
        raise ModelRefused(
            f"The transformer of the model {folder.name} takes {channels} channels: it is told no mask and "
            "no frames. Use an image-to-video model of Wan (36 channels), such as Wan2.1-I2V."
        )
    if not folder.place("image_encoder").is_dir():
        raise ModelRefused(
            f"The model {folder.name} has no image_encoder; Wan 2.1's image-to-video models have one; Wan "
            "2.2 is not known here."
        )
    for component, wanted in (("text_encoder", "umt5"), ("image_encoder", "clip_vision_model")):
        found = folder.config(component).get("model_type")
        if found != wanted:
            raise ModelRefused(
                f"The {component} of the model {folder.name} is a {found}; Wan's is a {wanted}. Fetch the "
                "model again."
            )
