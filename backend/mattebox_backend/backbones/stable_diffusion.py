"""Stable Diffusion 1.5 and everything of its class: an image UNet run over the frames of a clip.

The image model gets its sense of time from attention alone: the frames of a branch form one long picture,
and each query attends to the keys of all of them (full-frame attention; ST-Modulator, section 3.4).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from mattebox_backend.attention import AttentionSite, CallLayout, Reach, SiteKind, Switchboard
from mattebox_backend.attention.switchboard import SiteProcessor
from mattebox_backend.backbones.calling import FrameByFrame, UNetCalling
from mattebox_backend.backbones.folder import ModelFolder, ParameterValue
from mattebox_backend.backbones.protocol import TextEmbedding, WorkingSize, check_frames
from mattebox_backend.device import Device, total_memory_mb
from mattebox_backend.diffusion.schedule import NoiseSchedule
from mattebox_backend.errors import InvalidEdit, ModelRefused

COMPONENTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_KINDS = {"attn1": SiteKind.SELF, "attn2": SiteKind.CROSS, "attn_temp": SiteKind.TEMPORAL}
_PIXELS_AT_ONCE = 512 * 512
_ACTIVATIONS_PER_CHANNEL = 24
"""Live values per latent cell and channel of the widest level in a forward pass, feed-forward layers
included.
"""

Residuals = Callable[[torch.Tensor, int, torch.Tensor, range], Mapping[str, Any]]
"""Latents (B, F, C, h, w), timestep, text (B, L, C) or (B, F, L, C) and frames of one pass → the UNet's
arguments that say what is added to its skip connections and its middle.
"""


@dataclass(slots=True, eq=False)
class StableDiffusion:
    """`UNet2DConditionModel`, `AutoencoderKL` and CLIP's text half, as loaded from one model folder; or
    another UNet in place of the first, with a `calling` of its own.
    """

    name: str
    identity: str
    device: Device
    defaults: Mapping[str, Mapping[str, ParameterValue]]
    schedule: NoiseSchedule
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    calling: UNetCalling = field(default_factory=FrameByFrame)
    switchboard: Switchboard = field(init=False)

    def __post_init__(self) -> None:
        sites = find_sites(self.unet)
        self.switchboard = Switchboard(sites)
        for site in sites:
            self.unet.get_submodule(site.name).set_processor(SiteProcessor(site, self.switchboard))

    @classmethod
    def load(cls, folder: ModelFolder, device: Device) -> StableDiffusion:
        """Load a folder onto a device, in the device's number format.

        Raises `ModelRefused` for another family, for weights that are not safetensors, and for damaged files.
        """
        check_family(folder, ("UNet2DConditionModel",))
        unet = load_weights(folder, "unet", device, UNet2DConditionModel.from_pretrained, "torch_dtype")
        return cls.around(ready(unet, device), folder, device, COMPONENTS, FrameByFrame())

    @classmethod
    def around(
        cls,
        unet: Any,
        folder: ModelFolder,
        device: Device,
        components: tuple[str, ...],
        calling: UNetCalling,
    ) -> StableDiffusion:
        """A UNet that is ready to run, with all else that its folder holds. components: what decides the
        identity.
        """
        transformers_logging.disable_progress_bar()  # a server's log is no place for it
        vae = load_weights(folder, "vae", device, AutoencoderKL.from_pretrained, "torch_dtype")
        text_encoder = load_weights(folder, "text_encoder", device, CLIPTextModel.from_pretrained, "dtype")
        with refusing(folder, "tokenizer"):
            tokenizer = CLIPTokenizer.from_pretrained(folder.place("tokenizer"), local_files_only=True)
        with refusing(folder, "scheduler"):
            config = DDIMScheduler.load_config(folder.place("scheduler"), local_files_only=True)
            schedule = NoiseSchedule.of(DDIMScheduler.from_config(config))
        return cls(
            folder.name,
            folder.identity(components),
            device,
            folder.defaults(),
            schedule,
            unet,
            ready(vae, device),
            ready(text_encoder, device),
            tokenizer,
            calling,
        )

    @property
    def frame_limit(self) -> int | None:
        """See `Backbone.frame_limit`."""
        return self.calling.frame_limit

    @property
    def reduction(self) -> int:
        """Pixels per latent cell along a side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def token_limit(self) -> int:
        """How many tokens the text encoder reads, start and end included."""
        return min(
            int(self.text_encoder.config.max_position_embeddings), int(self.tokenizer.model_max_length)
        )

    def working_size(self, width: int, height: int, side: int = 0) -> WorkingSize:
        """See `Backbone.working_size`."""
        side = side or int(self.unet.config.sample_size) * self.reduction
        step = self.reduction * 2 ** (len(self.unet.config.block_out_channels) - 1)
        scale = side / math.sqrt(width * height)
        fitted_width = max(step, round(width * scale / step) * step)
        fitted_height = max(step, round(height * scale / step) * step)
        return WorkingSize(
            fitted_width, fitted_height, fitted_width // self.reduction, fitted_height // self.reduction
        )

    @torch.no_grad()
    def encode(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """See `Backbone.encode`."""
        step = self._frames_at_once(frames.shape[1] * frames.shape[2])
        latents = []
        for start in range(0, len(frames), step):
            pixels = torch.from_numpy(np.ascontiguousarray(frames[start : start + step])).to(
                self.device.torch
            )
            pixels = pixels.permute(0, 3, 1, 2).to(self.device.dtype) / 127.5 - 1
            mean = self.vae.encode(pixels).latent_dist.mean
            latents.append(mean.float() * self.vae.config.scaling_factor)
        return torch.cat(latents)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> Iterator[NDArray[np.float32]]:
        """See `Backbone.decode`."""
        step = self._frames_at_once(latents.shape[-1] * latents.shape[-2] * self.reduction**2)
        for start in range(0, len(latents), step):
            chunk = latents[start : start + step].to(self.device.torch, self.device.dtype)
            pixels = self.vae.decode(chunk / self.vae.config.scaling_factor).sample
            pixels = (pixels.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
            yield from pixels.cpu().numpy()

    def tokens(self, text: str) -> tuple[int, ...]:
        """See `Backbone.tokens`."""
        return tuple(self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    @torch.no_grad()
    def embed(self, prompt: str) -> TextEmbedding:
        """See `Backbone.embed`."""
        words, limit = self.tokens(prompt), self.token_limit
        if len(words) > limit - 2:
            raise InvalidEdit(
                f"The prompt {_shorten(prompt)!r} is {len(words)} tokens long and the text encoder of "
                f"{self.name} reads {limit - 2}; shorten it, or the region prompts that are appended."
            )
        inputs = self.tokenizer(prompt, padding="max_length", max_length=limit, return_tensors="pt")
        states = self.text_encoder(inputs.input_ids.to(self.device.torch))[0]
        return TextEmbedding(states[0], words, first=1)

    def predict(
        self,
        latents: torch.Tensor,
        timestep: int,
        text: torch.Tensor,
        branches: Sequence[str],
        *,
        frames: range | None = None,
        reach: Reach = Reach.ALL,
        residuals: Residuals | None = None,
    ) -> torch.Tensor:
        """See `Backbone.predict`. The branches run one after the other where memory would not hold them
        together.

        residuals: asked for what to add within the UNet, once per pass of it.
        """
        frames = frames or range(latents.shape[1])
        check_frames(self, len(frames))
        if len(branches) > 1 and not self.switchboard.couples_branches and not self._fits(latents):
            one_by_one = (slice(place, place + 1) for place in range(len(branches)))
            return torch.cat(
                [
                    self.predict(
                        latents[one],
                        timestep,
                        text[one],
                        branches[one],
                        frames=frames,
                        reach=reach,
                        residuals=residuals,
                    )
                    for one in one_by_one
                ]
            )
        size = (latents.shape[-2], latents.shape[-1])
        layout = CallLayout(tuple(branches), frames, size, reach)
        output = self.calling.predict(
            self.unet,
            latents.to(self.device.torch, self.device.dtype),
            timestep,
            text.to(self.device.dtype),
            layout,
            {} if residuals is None else residuals(latents, timestep, text, frames),
        )
        return self.schedule.noise(output.float(), latents, timestep)

    @contextmanager
    def saving_memory(self) -> Iterator[None]:
        """See `Backbone.saving_memory`."""
        self.unet.enable_gradient_checkpointing()
        try:
            yield
        finally:
            self.unet.disable_gradient_checkpointing()

    def attention_sites(self) -> tuple[AttentionSite, ...]:
        """See `Backbone.attention_sites`."""
        return self.switchboard.sites

    def unload(self) -> None:
        """See `Backbone.unload`."""
        self.unet = self.vae = self.text_encoder = None
        gc.collect()
        if self.device.kind == "cuda":
            torch.cuda.empty_cache()

    def _frames_at_once(self, pixels: int) -> int:
        budget = _PIXELS_AT_ONCE * (1 if self.device.kind == "cpu" else 4)
        return max(1, budget // pixels)

    def _fits(self, latents: torch.Tensor) -> bool:
        cells = latents.numel() // latents.shape[2]
        values = cells * int(self.unet.config.block_out_channels[0]) * _ACTIVATIONS_PER_CHANNEL
        needed_mb = values * self.device.dtype.itemsize / (1 << 20)
        # Together and one by one they round differently, so this must not hang on what else is running.
        return needed_mb < 0.4 * total_memory_mb(self.device)


def check_family(folder: ModelFolder, unets: tuple[str, ...]) -> str:
    """The class of the folder's UNet, which is one of `unets`; raises `ModelRefused` for another family."""
    if not folder.place("unet").is_dir():
        raise ModelRefused(
            f"The model {folder.name} has no unet folder; only Stable Diffusion 1.5's class is known."
        )
    unet, text, vae = (folder.config(component) for component in ("unet", "text_encoder", "vae"))
    kind, encoder = unet.get("_class_name"), text.get("architectures")
    if kind not in unets or encoder not in (["CLIPTextModel"], None):
        raise ModelRefused(
            f"The model {folder.name} is a {kind} under {encoder}; only {' or '.join(unets)} under "
            "CLIPTextModel (Stable Diffusion 1.5's class) is known."
        )
    channels, latent_channels = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if channels != latent_channels:
        raise ModelRefused(
            f"The UNet of the model {folder.name} takes {channels} channels and its latents have "
            f"{latent_channels}; models for inpainting are not known, use one that paints whole pictures."
        )
    width, context = text.get("hidden_size"), unet.get("cross_attention_dim")
    if unet.get("addition_embed_type") or (isinstance(context, int) and context != width):
        raise ModelRefused(
            f"The UNet of the model {folder.name} reads more than its one text encoder gives (Stable "
            "Diffusion XL does); use a model of Stable Diffusion 1.5's class."
        )
    return str(kind)


def load_weights(
    folder: ModelFolder, component: str, device: Device, load: Callable[..., Any], dtype_name: str
) -> Any:
    """One component (empty: what lies in the folder itself), from safetensors and nothing else, in the
    device's number format. Raises `ModelRefused` where it is missing or damaged.
    """
    variant = folder.variant(component)
    with refusing(folder, component):
        return load(
            folder.place(component),
            use_safetensors=True,
            variant=variant,
            local_files_only=True,
            **{dtype_name: device.dtype},
        )


def ready(module: Any, device: Device) -> Any:
    """A loaded module on its device, ready to run and not to be trained."""
    module.requires_grad_(False)
    # Convolutions run faster on pixels whose channels lie side by side.
    layout = torch.contiguous_format if device.kind == "mps" else torch.channels_last
    return module.to(device.torch, memory_format=layout).eval()


@contextmanager
def refusing(folder: ModelFolder, component: str) -> Iterator[None]:
    """Within the block, whatever a missing or damaged file makes its library raise is `ModelRefused`."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelRefused(
            f"The {component or 'network'} of the model {folder.name} cannot be loaded ({reason}); fetch the "
            "model again."
        ) from error


def find_sites(unet: Any) -> tuple[AttentionSite, ...]:
    """The attention layers of a UNet's transformer blocks, in the order in which they are called."""
    levels = len(unet.config.block_out_channels)
    sites = []
    for name, module in unet.named_modules():
        layer = name.rpartition(".")[2]
        if layer not in _KINDS or not hasattr(module, "to_q"):
            continue
        stage, _, rest = name.partition(".")
        block = int(rest.partition(".")[0]) if stage != "mid_block" else 0
        depth = {"down_blocks": block, "mid_block": levels - 1, "up_blocks": levels - 1 - block}[stage]
        kind = SiteKind.TEMPORAL if ".motion_modules." in name else _KINDS[layer]
        sites.append(AttentionSite(name, kind, 2**depth))
    return tuple(sorted(sites, key=_call_order))


def _call_order(site: AttentionSite) -> tuple[int, ...]:
    """By stage, block and layer of the UNet; in a layer, motion modules come after spatial attention."""
    stage, *rest = site.name.split(".")
    numbers = tuple(int(part) for part in rest if part.isdecimal())
    place = numbers[:1] if stage == "mid_block" else numbers[:2]
    return (
        ("down_blocks", "mid_block", "up_blocks").index(stage),
        *place,
        int(site.kind is SiteKind.TEMPORAL),
    )


def _shorten(prompt: str) -> str:
    return prompt if len(prompt) <= 60 else prompt[:57] + "…"
