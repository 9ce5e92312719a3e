"""What one update of re-attention costs (ReAtCo, eqs. 2–7), apart from all else in a render: time and memory,
with checkpointing and without, and under a window of fixed length over growing clips.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from mattebox_backend.attention import Reach
from mattebox_backend.bench.apart import PRECISE, answer, measured_apart
from mattebox_backend.bench.cost import square_of
from mattebox_backend.controls.reattention import ReAttention, ReAttentionSchedule
from mattebox_backend.controls.text_layout import lay_out_text
from mattebox_backend.device import choose_device, peak_memory_mb, reset_peak_memory
from mattebox_backend.diffusion.control import EDIT_BRANCH, Run
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.sampler import steps_of
from mattebox_backend.diffusion.trajectory import Trajectory
from mattebox_backend.edit import Region
from mattebox_backend.masks import stack_regions
from mattebox_backend.methods import find_method
from mattebox_backend.methods.windowing import windows
from mattebox_backend.models.registry import ModelRegistry

AT_ONCE: Final = (8, 16, 32)
CLIPS: Final = (8, 16, 32, 64)
WINDOW: Final = 8
_AREA = 0.25
_SIDE = 128
_PROMPT = "a red circle"


@dataclass(frozen=True, slots=True)
class Update:
    """One update to measure. window: frames of a window, 0 takes all at once."""

    frames: int
    checkpointing: bool = True
    window: int = 0
    backbone: str = "pocket-sd"
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class UpdateCost:
    """memory_mb: the peak over what the loaded model takes, in MiB."""

    seconds: float
    memory_mb: float


def updates(backbone: str, device: str) -> list[Update]:
    """All frames at once with checkpointing and without; then growing clips under one window."""
    at_once = [Update(frames, saving) for frames in AT_ONCE for saving in (False, True)]
    windowed = [Update(frames, window=WINDOW) for frames in CLIPS]
    return [replace(update, backbone=backbone, device=device) for update in (*at_once, *windowed)]


def measure_updates(
    chosen: Sequence[Update], on_done: Callable[[Update], None]
) -> list[tuple[Update, UpdateCost]]:
    """Measure updates one after the other, each in a process of its own.

    Raises `BenchError` for one that did not finish.
    """
    found = []
    for update in chosen:
        cost = measured_apart(__name__, update, f"An update over {update.frames} frames", PRECISE)
        found.append((update, UpdateCost(**cost)))
        on_done(update)
    return found


def to_json(found: Sequence[tuple[Update, UpdateCost]]) -> list[dict[str, Any]]:
    """Updates and costs as JSON values."""
    return [{**asdict(update), **asdict(cost)} for update, cost in found]


def measure_here(update: Update) -> UpdateCost:
    """Move latents of pure noise by one update, in this process."""
    device = choose_device(update.device)
    backbone = ModelRegistry().load(update.backbone, device)
    size = backbone.working_size(_SIDE, _SIDE)
    shape = (update.frames, 4, size.latent_height, size.latent_width)
    params = find_method("reatco").parse({}, backbone.defaults.get("reatco"))
    region = Region("region", _PROMPT, square_of(_AREA, update.frames, _SIDE, _SIDE))
    words = lay_out_text(backbone, f"a blue square and {_PROMPT}", [region], words_alone=True)
    denoiser = Denoiser(backbone, Reach(params.frames_seen), windows(update.window, 0))
    grid = backbone.schedule.grid(1)
    trajectory = Trajectory(np.zeros((2, *shape), np.float16))
    run = Run(denoiser, grid, stack_regions([region]), trajectory, torch.Generator())
    schedule = ReAttentionSchedule(
        params.step_size, params.top_share, np.inf, (), 0, params.map_reduction, update.checkpointing
    )
    control = ReAttention(words, schedule)
    (step,) = steps_of(grid, size.latent_height, size.latent_width)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device.torch)
    with torch.no_grad():
        control.prepare(run)
        # The first prediction loads libraries and makes threads: that is not the update's.
        backbone.predict(
            latents[None, :1], step.timestep, words.states[None], [EDIT_BRANCH], reach=denoiser.reach
        )
        reset_peak_memory(device)
        before, began = peak_memory_mb(device), time.perf_counter()
        moved = control.before_step(latents, step)
        float(moved.sum())  # waits for a device that works on its own
        cost = UpdateCost(time.perf_counter() - began, peak_memory_mb(device) - before)
        control.close()
    return cost


if __name__ == "__main__":
    answer(lambda given: measure_here(Update(**given)))
