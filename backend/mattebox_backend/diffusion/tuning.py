"""One-shot tuning: an inflated image model learns the motion of one clip (Tune-A-Video, section 4.2)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mattebox_proto.atomic_file import replacing
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from mattebox_backend.backbones.inflated import tuned_parameters
from mattebox_backend.backbones.stable_diffusion import StableDiffusion
from mattebox_backend.diffusion.control import SOURCE_BRANCH
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.optimizer_state import optimizer_tensors, restore_optimizer

_WEIGHT, _MOMENT, _GENERATOR = "weight.", "moment.", "generator"


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
    checkpoint: TuningCheckpoint | None = None,
) -> dict[str, torch.Tensor]:
    """Weights that predict the noise in noised latents (F, C, h, w) of a clip under its prompt's text (L, C).

    The denoiser's backbone is inflated and belongs to the caller; its weights are trained in place, in
    float32, and returned as they will be used. A clip with windows gives one of them to each step.
    An interrupted tuning goes on from its `checkpoint`, where there is one, and ends in the same bits; who
    keeps the weights then removes it. `progress(step, of)` is told after every step and may raise to stop.
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
        done = checkpoint.restore(trained, optimizer, generator) if checkpoint is not None else 0
        for step in range(done, plan.steps):
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
            if checkpoint is not None:
                checkpoint.keep(step + 1, trained, optimizer, generator)
            progress(step + 1, plan.steps)
    finally:
        for parameter in trained.values():
            parameter.requires_grad_(False)
            parameter.grad = None
            parameter.data = parameter.data.to(number_format)
    return {name: parameter.detach().clone() for name, parameter in trained.items()}


@dataclass(frozen=True, slots=True)
class TuningCheckpoint:
    """One file with the state of the tuning that `key` names, replaced atomically after `every` steps.

    It is three times the size of what is trained (about 900 MB for Stable Diffusion 1.5), so that writing it
    more often would cost more than the steps that it saves.
    """

    file: Path
    key: str
    every: int = 50

    def restore(
        self,
        trained: Mapping[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> int:
        """Put all three back where they stood and return the steps that are done: 0 where there is no file,
        it is damaged, or it belongs to another tuning.
        """
        try:
            with safe_open(self.file, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") != self.key:
                    return 0
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError):
            return 0
        for name, parameter in trained.items():
            parameter.data.copy_(tensors[f"{_WEIGHT}{name}"])
        moments = {key.removeprefix(_MOMENT): v for key, v in tensors.items() if key.startswith(_MOMENT)}
        restore_optimizer(optimizer, moments)
        generator.set_state(tensors[_GENERATOR])
        return int(metadata["done"])

    def keep(
        self,
        done: int,
        trained: Mapping[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        """Write the state after so many steps, when it is time."""
        if done % self.every:
            return
        tensors = {f"{_WEIGHT}{name}": parameter.detach() for name, parameter in trained.items()}
        tensors |= {f"{_MOMENT}{key}": value for key, value in optimizer_tensors(optimizer).items()}
        tensors[_GENERATOR] = generator.get_state()
        _write(self.file, tensors, {"key": self.key, "done": str(done)})

    def remove(self) -> None:
        """Drop the state of a tuning whose weights are kept."""
        self.file.unlink(missing_ok=True)


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
        _write(self.file, weights)


def _write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as stream:
        stream.write(save(content, metadata))
