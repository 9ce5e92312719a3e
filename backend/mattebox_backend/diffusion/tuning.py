"""One-shot tuning: an inflated image model learns the motion of one clip (Tune-A-Video, section 4.2)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from mattebox_proto.atomic_file import replacing
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from mattebox_backend.backbones.inflated import tuned_parameters
from mattebox_backend.backbones.stable_diffusion import StableDiffusion
from mattebox_backend.diffusion.control import SOURCE_BRANCH
from mattebox_backend.diffusion.denoiser import Denoiser


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """steps: of AdamW, each at a noise level of its own. learning_rate: the paper's is 3e-5."""

    steps: int
    learning_rate: float
    seed: int = 33


def tune(
    denoiser: Denoiser,
    latents: torch.Tensor,
    text: torch.Tensor,
    plan: TuningPlan,
    progress: Callable[[int, int], None],
) -> dict[str, torch.Tensor]:
    """Weights that predict the noise in noised latents (F, C, h, w) of a clip under its prompt's text (L, C).

    The denoiser's backbone is inflated and belongs to the caller; its weights are trained in place, in
    float32, and returned as they will be used. A clip with windows gives one of them to each step.
    `progress(step, of)` is told after every step and may raise to stop.
    """
    backbone = denoiser.backbone
    if not isinstance(backbone, StableDiffusion):
        raise TypeError("Only an inflated image model can be tuned on one clip.")
    generator = torch.Generator().manual_seed(plan.seed)
    trained = dict(tuned_parameters(backbone))
    number_format = backbone.device.dtype
    for parameter in trained.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained.values(), lr=plan.learning_rate, weight_decay=0.01)
    windows = denoiser.windows_over(len(latents))
    try:
        for step in range(plan.steps):
            timestep = int(torch.randint(len(backbone.schedule.alphas), (), generator=generator))
            window = windows[int(torch.randint(len(windows), (), generator=generator))]
            clean = latents[window.start : window.stop]
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            alpha = float(backbone.schedule.alphas[timestep])
            noisy = math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * noise
            with (
                torch.enable_grad(),
                torch.autocast(backbone.device.kind, number_format, enabled=number_format != torch.float32),
            ):
                predicted = backbone.predict(
                    noisy.unsqueeze(0),
                    timestep,
                    text.unsqueeze(0),
                    [SOURCE_BRANCH],
                    frames=window,
                    reach=denoiser.reach,
                )[0]
                loss = (predicted - noise).square().mean()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimizer.step()
            progress(step + 1, plan.steps)
    finally:
        for parameter in trained.values():
            parameter.requires_grad_(False)
            parameter.grad = None
            parameter.data = parameter.data.to(number_format)
    return {name: parameter.detach().clone() for name, parameter in trained.items()}


@dataclass(frozen=True, slots=True)
class TunedWeights:
    """Tuned weights on disk: one safetensors file, never half-written under its name."""

    file: Path

    def find(self) -> dict[str, torch.Tensor] | None:
        """The weights when they are here and whole; a damaged file is removed."""
        if not self.file.exists():
            return None
        try:
            weights: dict[str, torch.Tensor] = load_file(self.file)
            os.utime(self.file)  # the cache drops what was used longest ago
        except (OSError, SafetensorError):
            self.file.unlink(missing_ok=True)
            return None
        return weights

    def add(self, weights: dict[str, torch.Tensor]) -> None:
        """Keep weights."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        content = {name: weight.cpu().contiguous() for name, weight in weights.items()}
        with replacing(self.file) as stream:
            stream.write(save(content))
