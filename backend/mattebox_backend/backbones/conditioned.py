"""An image backbone under a ControlNet: one condition picture per edited frame, on in inversion and sampling
alike (ST-Modulator, section 3.3 and appendix F).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.attention import AttentionSite, Reach, Switchboard
from mattebox_backend.backbones.controlnet import ControlNet
from mattebox_backend.backbones.folder import ParameterValue
from mattebox_backend.backbones.protocol import TextEmbedding, WorkingSize
from mattebox_backend.backbones.stable_diffusion import StableDiffusion
from mattebox_backend.device import Device
from mattebox_backend.diffusion.schedule import NoiseSchedule, felt_log_snr


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What a ControlNet reads, and when it is heard.

    pictures: (F, H, W, 3) uint8 RGB at working size, one per edited frame; read as [0, 1]. scale: of what the
    ControlNet adds. window: it adds while the noise level is at or below this log-SNR, as felt at 512².
    picture: latent height and width that noise levels are felt at; None: those of the latents.
    """

    pictures: NDArray[np.uint8]
    scale: float = 1.0
    window: float = 20.0
    picture: tuple[int, int] | None = None


@dataclass(slots=True, eq=False)
class Conditioned:
    """A backbone that adds a ControlNet's residuals to a model's predictions, and is that model in all else.

    The ControlNet sees every frame by itself, as it was trained to: what steers the model's attention does
    not reach it. The model and its weights stay as they are.
    """

    inner: StableDiffusion
    controlnet: ControlNet
    condition: Condition
    name: str = field(init=False)
    identity: str = field(init=False)
    device: Device = field(init=False)
    defaults: Mapping[str, Mapping[str, ParameterValue]] = field(init=False)
    schedule: NoiseSchedule = field(init=False)
    switchboard: Switchboard = field(init=False)

    def __post_init__(self) -> None:
        """Raises `ModelRefused` where the ControlNet does not fit the model."""
        self.controlnet.require_fit(self.inner)
        inner = self.inner
        self.name, self.device, self.defaults = inner.name, inner.device, inner.defaults
        self.schedule, self.switchboard = inner.schedule, inner.switchboard
        self.identity = _identity(inner, self.controlnet, self.condition)

    @property
    def frame_limit(self) -> int | None:
        """See `Backbone.frame_limit`."""
        return self.inner.frame_limit

    def working_size(self, width: int, height: int, side: int = 0) -> WorkingSize:
        """See `Backbone.working_size`."""
        return self.inner.working_size(width, height, side)

    def encode(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """See `Backbone.encode`."""
        return self.inner.encode(frames)

    def decode(self, latents: torch.Tensor) -> Iterator[NDArray[np.float32]]:
        """See `Backbone.decode`."""
        return self.inner.decode(latents)

    def tokens(self, text: str) -> tuple[int, ...]:
        """See `Backbone.tokens`."""
        return self.inner.tokens(text)

    def embed(self, prompt: str) -> TextEmbedding:
        """See `Backbone.embed`."""
        return self.inner.embed(prompt)

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
        """See `Backbone.predict`. All branches are conditioned: guidance then weighs texts, not pictures."""
        return self.inner.predict(
            latents,
            timestep,
            text,
            branches,
            frames=frames,
            reach=reach,
            residuals=self._residuals if self._acts(latents, timestep) else None,
        )

    @contextmanager
    def saving_memory(self) -> Iterator[None]:
        """See `Backbone.saving_memory`."""
        with self.inner.saving_memory():
            self.controlnet.module.enable_gradient_checkpointing()
            try:
                yield
            finally:
                self.controlnet.module.disable_gradient_checkpointing()

    def attention_sites(self) -> tuple[AttentionSite, ...]:
        """See `Backbone.attention_sites`."""
        return self.inner.attention_sites()

    def unload(self) -> None:
        """See `Backbone.unload`."""
        self.inner.unload()
        self.controlnet.unload()

    def _acts(self, latents: torch.Tensor, timestep: int) -> bool:
        alpha = float(self.schedule.alphas[timestep])
        level = math.log(alpha / (1 - alpha))
        height, width = self.condition.picture or (latents.shape[-2], latents.shape[-1])
        return felt_log_snr(level, height, width) <= self.condition.window

    def _residuals(
        self, latents: torch.Tensor, timestep: int, text: torch.Tensor, frames: range
    ) -> Mapping[str, Any]:
        """The residuals of latents (B, F, C, h, w): of these frames of the clip, in each branch."""
        device, dtype = self.device.torch, self.device.dtype
        if text.ndim == 3:
            text = text.unsqueeze(1).expand(-1, len(frames), -1, -1)
        of_frames = torch.from_numpy(self.condition.pictures[frames.start : frames.stop]).to(device)
        pictures = (of_frames.permute(0, 3, 1, 2).to(dtype) / 255).repeat(len(latents), 1, 1, 1)
        return self.controlnet.residuals(
            latents.flatten(0, 1).to(device, dtype),
            timestep,
            text.flatten(0, 1).to(dtype),
            pictures,
            self.condition.scale,
        )


def _identity(inner: StableDiffusion, controlnet: ControlNet, condition: Condition) -> str:
    digest = hashlib.sha256(f"{inner.identity}/controlnet:{controlnet.identity}".encode())
    heard = f"{condition.scale!r}:{condition.window!r}:{condition.picture}"
    digest.update(f"/{heard}:{condition.pictures.shape}".encode())
    digest.update(np.ascontiguousarray(condition.pictures).tobytes())
    return digest.hexdigest()
