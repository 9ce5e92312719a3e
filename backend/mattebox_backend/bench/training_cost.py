"""What one step of training an adapter costs (mask-aware LoRA, appendix C, table 4): memory and time, on the
whole clip and in windows, with activations kept and computed again, and with blocks resting off the device.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from mattebox_backend.backbones.block_swap import BlockSwap
from mattebox_backend.backbones.video_protocol import VideoBackbone
from mattebox_backend.bench.apart import PRECISE, answer, measured_apart
from mattebox_backend.bench.cost import square_of
from mattebox_backend.bench.live_memory import LiveMemory
from mattebox_backend.device import Device, choose_device, peak_memory_mb, reset_peak_memory
from mattebox_backend.lora.adapter import AdapterPlan, adapted
from mattebox_backend.lora.samples import Footage, motion_samples, training_windows
from mattebox_backend.lora.told import Told
from mattebox_backend.lora.training import (
    Lesson,
    TrainingCheckpoint,
    TrainingPlan,
    backward,
    train_adapter,
)
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.world.captions import caption
from mattebox_backend.world.render import render
from mattebox_backend.world.sampling import sample_scene

CLIPS: Final = (17, 49)
WINDOW: Final = 9
SWAPS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_SEED = 90_001
"""Of no training and no task."""
_AREA = 0.1
_TIMED = 3
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """A step to measure. window: the frames of a clip that are learnt from together, 0 takes all. swap: the
    share of the blocks that rest off the device. rank: of the adapter. side: of the picture, in pixels.
    """

    frames: int
    window: int = 0
    checkpointing: bool = False
    swap: float = 0.0
    backbone: str = "pocket-wan-i2v"
    device: str = "auto"
    rank: int = 16
    side: int = 128


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """activation_mb: what the tensors that forward and backward pass make take at their peak, in MiB, counted
    one by one. memory_mb: the peak of the process (on CUDA of the device) while training, over what it had
    with the model loaded; below 0 where resting blocks save more than training takes. resident_mb: what the
    blocks' weights take on the device at their peak. moved_mb: what a step brings there. blocks_to_swap, of
    blocks. seconds: a step, after the first one.
    """

    activation_mb: float
    memory_mb: float
    resident_mb: float
    moved_mb: float
    blocks_to_swap: int
    blocks: int
    seconds: float


def steps(backbone: str, device: str) -> list[TrainingStep]:
    """Clips of two lengths, whole and in windows, with checkpointing and without; then windows with more and
    more blocks that rest.
    """
    over_clips = [
        TrainingStep(frames, window, again)
        for frames in CLIPS
        for window in (0, WINDOW)
        for again in (False, True)
    ]
    swapping = [TrainingStep(CLIPS[0], WINDOW, swap=share) for share in SWAPS if share]
    return [replace(step, backbone=backbone, device=device) for step in (*over_clips, *swapping)]


def measure_steps(
    chosen: Sequence[TrainingStep], on_done: Callable[[TrainingStep], None]
) -> list[tuple[TrainingStep, TrainingCost]]:
    """Measure steps one after the other, each in a process of its own.

    Raises `BenchError` for one that did not finish.
    """
    found = []
    for step in chosen:
        cost = measured_apart(__name__, step, f"A training step on {step.frames} frames", PRECISE)
        found.append((step, TrainingCost(**cost)))
        on_done(step)
    return found


def to_json(found: Sequence[tuple[TrainingStep, TrainingCost]]) -> list[dict[str, Any]]:
    """Steps and costs as JSON values."""
    return [{**asdict(step), **asdict(cost)} for step, cost in found]


def measure_here(step: TrainingStep) -> TrainingCost:
    """Train a fresh adapter for a few steps in this process."""
    device = choose_device(step.device)
    backbone = ModelRegistry().load_video(step.backbone, device)
    lesson = _lesson(backbone, step)
    count = round(step.swap * len(backbone.blocks))
    plan = TrainingPlan(1)
    with (
        tempfile.TemporaryDirectory(prefix="mattebox-training-") as folder,
        _ready(backbone, step) as parameters,
    ):
        nowhere = TrainingCheckpoint(Path(folder) / "state", "none", every=1 + _TIMED)
        reset_peak_memory(device)
        before = peak_memory_mb(device)
        with _swapping(backbone, count, device) as swap:
            # The first step loads libraries and makes threads: that is not the training's.
            train_adapter(backbone, parameters, lesson, plan, nowhere, _say_nothing)
            reset_peak_memory(device)
            moved, began = swap.moved_bytes if swap else 0, time.perf_counter()
            train_adapter(backbone, parameters, lesson, replace(plan, steps=_TIMED), nowhere, _say_nothing)
            seconds = (time.perf_counter() - began) / _TIMED
            memory = peak_memory_mb(device) - before
            moved = (swap.moved_bytes - moved) // _TIMED if swap else 0
            resident = swap.peak_resident_bytes if swap else _weights(backbone)
        # Without the swap, whose weights would be counted as they come.
        activations = _activations(backbone, parameters, lesson, plan)
    return TrainingCost(
        activations / _MEBIBYTE,
        memory,
        resident / _MEBIBYTE,
        moved / _MEBIBYTE,
        count,
        len(backbone.blocks),
        seconds,
    )


def _lesson(backbone: VideoBackbone, step: TrainingStep) -> Lesson:
    """The first window of a scene's clip."""
    scene = sample_scene(_SEED, frames=step.frames, width=step.side, height=step.side)
    footage = Footage(render(scene).frames, square_of(_AREA, step.frames, step.side, step.side) > 0)
    windows = training_windows(step.frames, step.window)[:1]
    return Lesson(motion_samples(backbone, footage, Told.REGION, caption(scene), windows))


@contextmanager
def _ready(backbone: VideoBackbone, step: TrainingStep) -> Iterator[dict[str, torch.nn.Parameter]]:
    """The model with an adapter whose parameters are to be learnt, saving memory where the step says so."""
    with ExitStack() as stack:
        parameters = stack.enter_context(adapted(backbone, AdapterPlan(rank=step.rank)))
        if step.checkpointing:
            stack.enter_context(backbone.saving_memory())
        _learn(parameters)
        yield parameters


@contextmanager
def _swapping(backbone: VideoBackbone, count: int, device: Device) -> Iterator[BlockSwap | None]:
    if count == 0:
        yield None
        return
    with BlockSwap(backbone.network, backbone.blocks, count, device.torch) as swap:
        yield swap


def _activations(
    backbone: VideoBackbone,
    parameters: dict[str, torch.nn.Parameter],
    lesson: Lesson,
    plan: TrainingPlan,
) -> int:
    """Bytes at the peak of one forward and backward pass, the gradients included."""
    generator = torch.Generator().manual_seed(plan.seed)
    _learn(parameters)
    with LiveMemory((*backbone.network.parameters(), *backbone.network.buffers())) as live:
        backward(backbone, lesson.samples[0], plan, generator)
    return int(live.peak)


def _learn(parameters: dict[str, torch.nn.Parameter]) -> None:
    for parameter in parameters.values():
        parameter.requires_grad_(True)


def _weights(backbone: VideoBackbone) -> int:
    """Bytes of the blocks' frozen weights."""
    return sum(
        weight.nbytes
        for block in backbone.blocks
        for name, weight in block.named_parameters()
        if ".lora_" not in name
    )


def _say_nothing(step: int, loss: float) -> None:
    pass


if __name__ == "__main__":
    answer(lambda given: measure_here(TrainingStep(**given)))
