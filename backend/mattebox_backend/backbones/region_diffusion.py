"""Region diffusion: a latent image model that was trained with the mask and the source around it as inputs.

Its folder has a `config.json` with its design, a widened `unet`, and, in `region`, what is learnt beside
that; its `mattebox.json` names the Stable Diffusion that it grew from as its base, which lends autoencoder,
text encoder and schedule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from mattebox_backend.attention import AttentionSite, CallLayout, Reach, Switchboard
from mattebox_backend.backbones.folder import ModelFolder, ParameterValue
from mattebox_backend.backbones.protocol import TextEmbedding, WorkingSize
from mattebox_backend.backbones.region_network import RegionCondition, RegionDesign, RegionNetwork
from mattebox_backend.backbones.stable_diffusion import StableDiffusion
from mattebox_backend.device import Device
from mattebox_backend.diffusion.schedule import NoiseSchedule
from mattebox_backend.errors import ModelRefused

FAMILY = "region-diffusion"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(slots=True, eq=False)
class RegionDiffusion:
    """A `Backbone` around a `RegionNetwork`.

    base: the model it grew from, with the widened UNet in place of its own. Without a condition everything is
    to be made and nothing is known: it then predicts as a model of whole pictures does, which is how a source
    is inverted.
    """

    name: str
    identity: str
    defaults: Mapping[str, Mapping[str, ParameterValue]]
    base: StableDiffusion
    network: RegionNetwork
    condition: RegionCondition | None = None
    device: Device = field(init=False)
    schedule: NoiseSchedule = field(init=False)
    switchboard: Switchboard = field(init=False)

    def __post_init__(self) -> None:
        self.device = self.base.device
        self.schedule = self.base.schedule
        self.switchboard = self.base.switchboard

    @classmethod
    def load(cls, folder: ModelFolder, device: Device) -> RegionDiffusion:
        """Load a folder onto a device.

        Raises `ModelRefused` for another family, another version, a base that is not there, weights that are
        not safetensors, and damaged files.
        """
        config = folder.config(".")
        design = _design(folder, config)
        if folder.base is None:
            raise ModelRefused(
                f"The model {folder.name} does not name the model that it grew from, whose autoencoder and "
                "text encoder it needs; fetch it again, mattebox.json too."
            )
        base = StableDiffusion.load(folder.base, device)
        channels = int(base.unet.config.in_channels)
        variant = folder.variant("unet")
        try:
            unet = UNet2DConditionModel.from_pretrained(
                folder.path / "unet",
                use_safetensors=True,
                variant=variant,
                local_files_only=True,
                torch_dtype=device.dtype,
            )
            widths = (unet.config.in_channels, unet.config.out_channels)
            if widths != (design.inputs(channels), design.outputs(channels)):
                raise ValueError(f"its UNet has {widths} channels, which is not its design")
            unet = unet.to(device.torch).eval().requires_grad_(False)
            base = replace(base, unet=unet)
            network = RegionNetwork(unet, design, base.attention_sites())
            network.load_state_dict(
                {f"unet.{name}": value for name, value in unet.state_dict().items()}
                | load_file(folder.path / "region" / WEIGHTS)
            )
        except (OSError, ValueError, TypeError, RuntimeError, KeyError, SafetensorError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelRefused(
                f"The network of the model {folder.name} cannot be loaded ({reason}); fetch the model again."
            ) from error
        network = network.to(device.torch, device.dtype).eval().requires_grad_(False)
        identity = f"{folder.identity(('unet', 'region'))}/{base.identity}"
        return cls(folder.name, identity, folder.defaults(), base, network)

    @property
    def frame_limit(self) -> int | None:
        """See `Backbone.frame_limit`."""
        return self.base.frame_limit

    def working_size(self, width: int, height: int, side: int = 0) -> WorkingSize:
        """See `Backbone.working_size`."""
        return self.base.working_size(width, height, side)

    def encode(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """See `Backbone.encode`."""
        return self.base.encode(frames)

    def decode(self, latents: torch.Tensor) -> Iterator[NDArray[np.float32]]:
        """See `Backbone.decode`."""
        return self.base.decode(latents)

    def tokens(self, text: str) -> tuple[int, ...]:
        """See `Backbone.tokens`."""
        return self.base.tokens(text)

    def embed(self, prompt: str) -> TextEmbedding:
        """See `Backbone.embed`."""
        return self.base.embed(prompt)

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
        """See `Backbone.predict`."""
        frames = frames or range(latents.shape[1])
        given = latents.to(self.device.torch, self.device.dtype)
        condition = self.condition
        if condition is None:
            whole = given.new_zeros(1, frames.stop, *given.shape[2:])
            condition = RegionCondition.nothing_known(whole, text.shape[-2])
        layout = CallLayout(tuple(branches), frames, (latents.shape[-2], latents.shape[-1]), reach)
        states = text.flatten(0, -3).to(self.device.dtype)
        output = self.network(given, timestep, states, condition, layout).float()
        return self.schedule.noise(output, latents, timestep)

    def saving_memory(self) -> AbstractContextManager[None]:
        """See `Backbone.saving_memory`."""
        return self.base.saving_memory()

    def attention_sites(self) -> tuple[AttentionSite, ...]:
        """See `Backbone.attention_sites`."""
        return self.base.attention_sites()

    def unload(self) -> None:
        """See `Backbone.unload`."""
        self.condition = None
        del self.network
        self.base.unload()


def folder_config(design: RegionDesign) -> dict[str, object]:
    """The `config.json` of a model folder."""
    return {"version": 1, "family": FAMILY, "design": asdict(design)}


def _design(folder: ModelFolder, config: dict[str, object]) -> RegionDesign:
    design = config.get("design")
    known = {mechanism.name for mechanism in fields(RegionDesign)}
    if config.get("family") != FAMILY or config.get("version") != 1:
        raise ModelRefused(
            f"The model {folder.name} is {config.get('family')} of version {config.get('version')}; this "
            f"program reads {FAMILY} of version 1."
        )
    if not isinstance(design, dict) or set(design) != known:
        raise ModelRefused(
            f"The config.json of the model {folder.name} does not say which of {', '.join(sorted(known))} it "
            "has; fetch the model again."
        )
    return RegionDesign(**{name: bool(value) for name, value in design.items()})
