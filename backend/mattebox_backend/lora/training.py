"""The training loop of an adapter: flow matching on a few samples, resumable at every checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mattebox_proto.atomic_file import replacing
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mattebox_backend.backbones.video_protocol import VideoBackbone
from mattebox_backend.diffusion.flow import shifted
from mattebox_backend.diffusion.optimizer_state import optimizer_tensors, restore_optimizer
from mattebox_backend.errors import MatteboxError
from mattebox_backend.lora.samples import Sample

_WEIGHT, _MOMENT, _GENERATOR, _LOSSES = "weight.", "moment.", "generator", "losses"


class TrainingDiverged(MatteboxError):
    """The loss, or its gradient, became NaN or infinite.

    steps: of the training that went well. weights: as they then were.
    """

    def __init__(self, message: str, steps: int, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__(message)
        self.steps = steps
        self.weights = weights


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """steps: of AdamW at one learning rate, each on one sample under `draws` draws of noise. shift: of the
    noise levels, which else are drawn evenly. seed: of all that is drawn.
    """

    steps: int = 100
    learning_rate: float = 1e-4
    draws: int = 1
    shift: float = 1.0
    seed: int = 33


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Samples that are learnt from, one of them a step. shares: how often each is drawn."""

    samples: Sequence[Sample]
    shares: Sequence[float] = field(default=())

    @classmethod
    def mixed(cls, *parts: tuple[Lesson, float]) -> Lesson:
        """Of other lessons, each with how often it is drawn; the shares add up to 1."""
        samples = [sample for lesson, _ in parts for sample in lesson.samples]
        return cls(samples, [share * own for lesson, share in parts for own in lesson._drawn])

    def draw(self, generator: torch.Generator) -> Sample:
        """One of the samples."""
        shares = torch.tensor(self._drawn, dtype=torch.float64)
        return self.samples[int(torch.multinomial(shares, 1, generator=generator))]

    @property
    def _drawn(self) -> Sequence[float]:
        """The shares; without any, every sample has the same."""
        return self.shares or [1 / len(self.samples)] * len(self.samples)


def train_adapter(
    backbone: VideoBackbone,
    parameters: Mapping[str, torch.nn.Parameter],
    lesson: Lesson,
    plan: TrainingPlan,
    checkpoint: TrainingCheckpoint,
    told: Callable[[int, float], None],
) -> list[float]:
    """Train the adapter's parameters in place, and return the loss of every step.

    The loss is the squared error of the velocity, `‖v_θ(x_t, t; condition) − (ε − x_0)‖²` (eq. 2; what the
    paper writes as noise prediction is flow matching in Wan). An interrupted training goes on from its
    checkpoint and ends in the same bits; who keeps the weights then removes it. `told(step, loss)` is told
    after every step and may raise to stop.

    Raises `TrainingDiverged` with the weights of the last step whose loss and gradient were finite.
    """
    generator = torch.Generator().manual_seed(plan.seed)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters.values(), lr=plan.learning_rate, weight_decay=0.01)
    losses: list[float] = []
    try:
        losses += checkpoint.restore(parameters, optimizer, generator)
        before = _copied(parameters)
        for step in range(len(losses), plan.steps):
            sample = lesson.draw(generator)
            loss = sum(backward(backbone, sample, plan, generator) for _ in range(plan.draws)) / plan.draws
            norm = float(torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0))
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise _diverged(step, plan, loss, before)
            before = _copied(parameters)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss)
            checkpoint.keep(losses, parameters, optimizer, generator)
            told(step + 1, loss)
    finally:
        for parameter in parameters.values():
            parameter.requires_grad_(False)
            parameter.grad = None
    return losses


def backward(
    backbone: VideoBackbone, sample: Sample, plan: TrainingPlan, generator: torch.Generator
) -> float:
    """Add the gradient of the loss of one draw of noise level and noise to the network's parameters that ask
    for one; the loss.
    """
    sigma = shifted(float(torch.rand((), generator=generator)), plan.shift)
    clean = sample.target.to(backbone.device.torch)
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    noisy = (1 - sigma) * clean + sigma * noise
    number_format = backbone.device.dtype
    with (
        torch.enable_grad(),
        torch.autocast(backbone.device.kind, number_format, enabled=number_format != torch.float32),
    ):
        velocity = backbone.predict(
            noisy.unsqueeze(0), backbone.schedule.timestep(sigma), sample.condition, [sample.prompt]
        )[0]
        error = (velocity - (noise - clean)).square()
        loss = (error if sample.counted is None else error[sample.counted]).mean()
        torch.autograd.backward(loss / plan.draws)
    return float(loss.detach())


def _copied(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def _diverged(
    step: int, plan: TrainingPlan, loss: float, good: Mapping[str, torch.Tensor]
) -> TrainingDiverged:
    what = "the loss" if not math.isfinite(loss) else "the gradient of the loss"
    value = loss if not math.isfinite(loss) else math.inf
    return TrainingDiverged(
        f"The adapter's training stopped at step {step + 1} of {plan.steps}: {what} became {value}. A lower "
        f"learning rate than {plan.learning_rate:g} is the usual remedy.",
        max(0, step - 1),
        good,
    )


@dataclass(frozen=True, slots=True)
class TrainingCheckpoint:
    """One file with the state of the training that `key` names, replaced atomically after `every` steps."""

    file: Path
    key: str
    every: int = 10

    def restore(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> list[float]:
        """Put all three back where they stood and return the losses so far: none where there is no file, it
        is damaged, or it belongs to another training.
        """
        try:
            with safe_open(self.file, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") != self.key:
                    return []
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            losses = [float(loss) for loss in json.loads(metadata[_LOSSES])]
        except (OSError, SafetensorError, ValueError, KeyError):
            return []
        for name, parameter in parameters.items():
            parameter.data.copy_(tensors[f"{_WEIGHT}{name}"])
        moments = {key.removeprefix(_MOMENT): v for key, v in tensors.items() if key.startswith(_MOMENT)}
        restore_optimizer(optimizer, moments)
        generator.set_state(tensors[_GENERATOR])
        return losses

    def keep(
        self,
        losses: Sequence[float],
        parameters: Mapping[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        """Write the state after so many losses, when it is time."""
        if len(losses) % self.every:
            return
        tensors = {f"{_WEIGHT}{name}": parameter.detach() for name, parameter in parameters.items()}
        tensors |= {f"{_MOMENT}{key}": value for key, value in optimizer_tensors(optimizer).items()}
        tensors[_GENERATOR] = generator.get_state()
        content = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.file) as stream:
            stream.write(save(content, {"key": self.key, _LOSSES: json.dumps(list(losses))}))

    def remove(self) -> None:
        """Drop the state of a training whose weights are kept."""
        self.file.unlink(missing_ok=True)
