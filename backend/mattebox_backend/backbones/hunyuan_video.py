"""HunyuanVideo image-to-video: `HunyuanVideoTransformer3DModel` with 33 input channels, its causal video
autoencoder, Llava for text and picture, and CLIP's text half (HunyuanVideo, arXiv 2412.03603;
HunyuanVideo-I2V-33ch; mask-aware LoRA, appendix E).

Like Wan it is told latents of what is known and a mask of where that is. Three things differ: the mask is one
channel, after the latents, and not packed; the latents are 0 where it is, not those of grey; and the text
runs through the blocks with the clip, at their own length. The later variant, which puts the first frame in
the place of its tokens, is told no mask and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    HunyuanVideoImageToVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import DEFAULT_PROMPT_TEMPLATE
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
)
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

COMPONENTS = (
    "transformer",
    "vae",
    "text_encoder",
    "tokenizer",
    "text_encoder_2",
    "tokenizer_2",
    "image_processor",
)
TEXT_LENGTH = 256
"""Tokens of a prompt, apart from what the template says around it."""
_PICTURE_EVERY = 2
"""Of the picture's tokens, every second one; the library's default for this variant."""
_GUIDANCE = 6.0
"""What a model that has learnt guidance as an input (`guidance_embeds`) is told: the authors' own default."""
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


@dataclass(slots=True, eq=False)
class HunyuanVideo:
    """A model of the HunyuanVideo image-to-video family, as loaded from one folder."""

    name: str
    identity: str
    device: Device
    defaults: Mapping[str, Mapping[str, ParameterValue]]
    schedule: FlowSchedule
    network: Any
    vae: Any
    encoders: Any
    frames: int | None
    side: int

    @classmethod
    def load(cls, folder: ModelFolder, device: Device) -> HunyuanVideo:
        """Load a folder onto a device, in the device's number format; the autoencoder in float32.

        Raises `ModelRefused` for another family or variant, for weights that are not safetensors, and for
        damaged files.
        """
        check_family(folder)
        transformers_logging.disable_progress_bar()  # a server's log is no place for it
        network = load_weights(
            folder, "transformer", device, HunyuanVideoTransformer3DModel.from_pretrained, "torch_dtype"
        )
        exact = replace(device, precision="float32")
        vae = load_weights(folder, "vae", exact, AutoencoderKLHunyuanVideo.from_pretrained, "torch_dtype")
        return cls._of(
            folder,
            device,
            folder.identity(COMPONENTS),
            network,  # a block swap brings it to the device: it may not fit there whole
            vae,
            _encoders(folder, device),
        )

    @classmethod
    def outline(cls, folder: ModelFolder, device: Device) -> HunyuanVideo:
        """The same from configurations alone: see `VideoBackbone`."""
        check_family(folder)
        with outlined(folder):
            network = HunyuanVideoTransformer3DModel.from_config(folder.config("transformer"))
            vae = AutoencoderKLHunyuanVideo.from_config(folder.config("vae"))
            llava = LlavaForConditionalGeneration(LlavaConfig.from_dict(folder.config("text_encoder")))
            words = CLIPTextModel(CLIPTextConfig.from_dict(folder.config("text_encoder_2")))
        return cls._of(folder, device, "", network, vae, _encoding(llava, None, words, None, None))

    @classmethod
    def _of(
        cls, folder: ModelFolder, device: Device, identity: str, network: Any, vae: Any, encoders: Any
    ) -> HunyuanVideo:
        vae.enable_tiling()  # whole, 49 frames of 832×480 would take 30 GB
        about = folder.config("", "mattebox.json") if (folder.path / "mattebox.json").is_file() else {}
        return cls(
            folder.name,
            identity,
            device,
            folder.defaults(),
            flow_schedule(folder),
            frozen(network),
            frozen(vae),
            encoders,
            whole(about.get("frames"), 129),
            whole(about.get("side"), 960),
        )

    @property
    def frame_stride(self) -> int:
        """See `VideoBackbone.frame_stride`."""
        return int(self.vae.config.temporal_compression_ratio)

    @property
    def latent_channels(self) -> int:
        """See `VideoBackbone.latent_channels`."""
        return int(self.vae.config.latent_channels)

    @property
    def frame_limit(self) -> int | None:
        """See `VideoBackbone.frame_limit`."""
        return self.frames

    @property
    def blocks(self) -> Sequence[torch.nn.Module]:
        """See `VideoBackbone.blocks`: first those in which text and clip have weights of their own."""
        return (*self.network.transformer_blocks, *self.network.single_transformer_blocks)

    @property
    def prompt_bytes(self) -> int:
        """See `VideoBackbone.prompt_bytes`: Llava and CLIP's text half."""
        both = (self.encoders.text_encoder, self.encoders.text_encoder_2)
        return sum(weight_bytes(encoder, self.device.dtype) for encoder in both)

    def adapter_layers(self, *, feed_forward: bool) -> tuple[str, ...]:
        """See `VideoBackbone.adapter_layers`. In blocks of one stream the layer after attention is one with
        that after the feed-forward layer, and counts as such.
        """
        dual = [f"attn.{layer}" for layer in _ATTENTION]
        single = [f"attn.{layer}" for layer in _ATTENTION[:3]]
        if feed_forward:
            dual += [f"{part}.net.{layer}" for part in ("ff", "ff_context") for layer in ("0.proj", "2")]
            single += ["proj_mlp", "proj_out"]
        return tuple(
            f"{kind}.{block}.{layer}"
            for kind, layers in (("transformer_blocks", dual), ("single_transformer_blocks", single))
            for block in range(len(getattr(self.network, kind)))
            for layer in layers
        )

    def working_size(self, width: int, height: int, side: int = 0) -> WorkingSize:
        """See `VideoBackbone.working_size`."""
        reduction = int(self.vae.config.spatial_compression_ratio)
        step = reduction * int(self.network.config.patch_size)
        return fitted_size(width, height, side or self.side, step, reduction)

    @torch.no_grad()
    def encode(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """See `VideoBackbone.encode`."""
        return self._latents(pixels(frames))

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> Iterator[NDArray[np.float32]]:
        """See `VideoBackbone.decode`.

        All frames: the library's pipeline drops the first four, since this model lets what it makes jump away
        from the picture there (HunyuanVideo-I2V, issues 2 and 21). Frame k of a clip has to stay frame k, and
        what is known of it goes over it in the end.
        """
        with lent(self.vae, self.device):
            given = latents.to(self.device.torch).transpose(0, 1).unsqueeze(0)
            decoded = self.vae.decode(given / self.vae.config.scaling_factor).sample[0]
        yield from to_frames(decoded)

    @torch.no_grad()
    def condition(self, frames: NDArray[np.uint8], known: NDArray[np.bool_]) -> torch.Tensor:
        """See `VideoBackbone.condition`: 16 channels of latents of the clip with grey where it is not known,
        then the mask. A latent cell is known where all the frames that it stands for are, in all of it; where
        it is not, its latents are 0, as the model was trained.

        The first frame is encoded by itself, as it was in training: in a clip this autoencoder normalises it
        together with those that come after it.
        """
        seen = pixels(frames) * torch.from_numpy(np.ascontiguousarray(known)).float()
        first = self._latents(seen[:, :1])
        latents = first if len(frames) == 1 else torch.cat([first, self._latents(seen)[1:]])
        cells = torch.from_numpy(whole_cells(known, *latents.shape[-2:]))
        mask = known_latents(cells, self.frame_stride).unsqueeze(1).to(latents)
        return torch.cat([latents * mask, mask], dim=1)

    @torch.no_grad()
    def prompt(self, text: str, picture: NDArray[np.uint8]) -> Prompt:
        """See `VideoBackbone.prompt`. CLIP's half reads the first 77 tokens alone."""
        tokenizer, template = self.encoders.tokenizer, DEFAULT_PROMPT_TEMPLATE["template"]
        around = len(tokenizer(template.format("")).input_ids)
        count = len(tokenizer(template.format(text)).input_ids) - around
        room = TEXT_LENGTH + DEFAULT_PROMPT_TEMPLATE["crop_start"] - around
        if count > room:
            raise InvalidEdit(
                f"The prompt {text[:57]!r}… is {count} tokens long and {self.name} reads {room}; shorten it."
            )
        with lent(self.encoders.text_encoder, self.device), lent(self.encoders.text_encoder_2, self.device):
            states, pooled, mask = self.encoders.encode_prompt(
                image=Image.fromarray(picture),
                prompt=text,
                device=self.device.torch,
                image_embed_interleave=_PICTURE_EVERY,
            )
        return Prompt(
            {
                "encoder_hidden_states": states.to(self.device.dtype),
                "encoder_attention_mask": mask.to(self.device.dtype),
                "pooled_projections": pooled.to(self.device.dtype),
            }
        )

    def predict(
        self,
        latents: torch.Tensor,
        timestep: float,
        condition: torch.Tensor,
        prompts: Sequence[Prompt],
    ) -> torch.Tensor:
        """See `VideoBackbone.predict`."""
        told = {"guidance": 1000 * _GUIDANCE} if self.network.config.guidance_embeds else {}
        return velocity(self.network, self.device, latents, timestep, condition, prompts, told)

    def saving_memory(self) -> AbstractContextManager[None]:
        """See `VideoBackbone.saving_memory`."""
        return computing_again(self.network)

    def unload(self) -> None:
        """See `VideoBackbone.unload`."""
        self.network = self.vae = self.encoders = None
        released(self.device)

    def _latents(self, given: torch.Tensor) -> torch.Tensor:
        """Of (C, F, H, W) in [-1, 1]: (T, C, h, w) float32."""
        with lent(self.vae, self.device):
            found = self.vae.encode(given.to(self.device.torch).unsqueeze(0)).latent_dist.mode()
        return torch.as_tensor((found * self.vae.config.scaling_factor)[0].transpose(0, 1).float())


def known_latents(cells: torch.Tensor, stride: int) -> torch.Tensor:
    """What is known of latent frames, (T, h, w) bool, from what is known per frame, (F, h, w) bool: the first
    stands for itself, every other for `stride` frames.
    """
    together = cells[1:].reshape(len(cells) // stride, stride, *cells.shape[1:])
    return torch.cat([cells[:1], together.all(dim=1)])


def check_family(folder: ModelFolder) -> None:
    """Raise `ModelRefused` unless the folder holds an image-to-video model of HunyuanVideo's make that is
    told a mask.
    """
    if not folder.place("transformer").is_dir():
        raise ModelRefused(
            f"The model {folder.name} has no transformer folder; HunyuanVideo's models have one."
        )
    transformer, vae = folder.config("transformer"), folder.config("vae")
    kind, encoder = transformer.get("_class_name"), vae.get("_class_name")
    if kind != "HunyuanVideoTransformer3DModel" or encoder != "AutoencoderKLHunyuanVideo":
        raise ModelRefused(
            f"The model {folder.name} is a {kind} with {encoder}; only HunyuanVideoTransformer3DModel with "
            "AutoencoderKLHunyuanVideo is known here."
        )
    condition = transformer.get("image_condition_type")
    if condition == "token_replace":
        raise ModelRefused(
            f"The model {folder.name} puts the first frame in the place of its tokens (token_replace) and is "
            "told no mask; use the variant with 33 channels, such as "
            "hunyuanvideo-community/HunyuanVideo-I2V-33ch."
        )
    latents, channels = vae.get("latent_channels", 16), transformer.get("in_channels")
    if condition != "latent_concat" or not isinstance(latents, int) or channels != 2 * latents + 1:
        raise ModelRefused(
            f"The transformer of the model {folder.name} takes {channels} channels: it is told no mask and "
            "no frames. Use an image-to-video model of HunyuanVideo (33 channels)."
        )
    for component, wanted in (("text_encoder", "llava"), ("text_encoder_2", "clip_text_model")):
        found = folder.config(component).get("model_type")
        if found != wanted:
            raise ModelRefused(
                f"The {component} of the model {folder.name} is a {found}; HunyuanVideo's is a {wanted}. "
                "Fetch the model again."
            )


def _encoders(folder: ModelFolder, device: Device) -> Any:
    llava = LlavaForConditionalGeneration.from_pretrained
    text_encoder = load_weights(folder, "text_encoder", device, llava, "dtype")
    text_encoder_2 = load_weights(folder, "text_encoder_2", device, CLIPTextModel.from_pretrained, "dtype")
    with refusing(folder, "tokenizers or image processor"):
        tokenizers = [
            AutoTokenizer.from_pretrained(folder.place(place), local_files_only=True)
            for place in ("tokenizer", "tokenizer_2")
        ]
        processor = CLIPImageProcessorPil.from_pretrained(
            folder.place("image_processor"), local_files_only=True
        )
    return _encoding(text_encoder, tokenizers[0], text_encoder_2, tokenizers[1], processor)


def _encoding(
    text_encoder: Any, tokenizer: Any, text_encoder_2: Any, tokenizer_2: Any, image_processor: Any
) -> Any:
    """The library's own pipeline, for how it encodes prompts and for nothing else."""
    return HunyuanVideoImageToVideoPipeline(
        text_encoder=frozen(text_encoder),
        tokenizer=tokenizer,
        transformer=None,
        vae=None,
        scheduler=None,
        text_encoder_2=frozen(text_encoder_2),
        tokenizer_2=tokenizer_2,
        image_processor=image_processor,
    )
