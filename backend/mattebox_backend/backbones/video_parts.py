"""What the image-to-video families do alike with their parts."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers.schedulers import FlowMatchEulerDiscreteScheduler
from numpy.typing import NDArray

from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.backbones.protocol import WorkingSize
from mattebox_backend.backbones.stable_diffusion import refusing
from mattebox_backend.backbones.video_protocol import TOKENS_TOGETHER, Prompt
from mattebox_backend.device import Device
from mattebox_backend.diffusion.flow import FlowSchedule


def pixels(frames: NDArray[np.uint8]) -> torch.Tensor:
    """(F, H, W, 3) uint8 as (3, F, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2).float().div(127.5).sub(1.0)


def to_frames(decoded: torch.Tensor) -> NDArray[np.float32]:
    """What an autoencoder decodes, (3, F, H, W) in [-1, 1], as frames (F, H, W, 3) in [0, 1]."""
    frames = (decoded / 2 + 0.5).clamp(0, 1).permute(1, 2, 3, 0).float().cpu().numpy()
    return np.asarray(frames, np.float32)


def frozen(module: Any) -> Any:
    """Ready to run and not to be trained."""
    return module.requires_grad_(False).eval()


@contextmanager
def lent(component: Any, device: Device) -> Iterator[None]:
    """Within the block, a component that is needed once is on the device; else it lies in the machine's
    memory: a text encoder alone would fill half of a consumer's card.
    """
    if device.kind == "cpu":
        yield
        return
    component.to(device.torch)
    try:
        yield
    finally:
        component.to("cpu")
        if device.kind == "cuda":
            torch.cuda.empty_cache()


@contextmanager
def outlined(folder: ModelFolder) -> Iterator[None]:
    """Within the block, networks have shapes and no content. Raises `ModelRefused` for a configuration that
    its library does not take.
    """
    with refusing(folder, "configuration"), torch.device("meta"):
        yield


def weight_bytes(module: torch.nn.Module, number_format: torch.dtype) -> int:
    """Of a network in a number format, loaded or an outline."""
    return sum(parameter.numel() for parameter in module.parameters()) * number_format.itemsize


def flow_schedule(folder: ModelFolder) -> FlowSchedule:
    """How a folder's scheduler spaces its levels. Raises `ModelRefused` where there is none."""
    with refusing(folder, "scheduler"):
        return FlowSchedule.of(
            FlowMatchEulerDiscreteScheduler.load_config(folder.place("scheduler"), local_files_only=True)
        )


def velocity(
    network: Any,
    device: Device,
    latents: torch.Tensor,
    timestep: float,
    condition: torch.Tensor,
    prompts: Sequence[Prompt],
    told: Mapping[str, float] | None = None,
) -> torch.Tensor:
    """See `VideoBackbone.predict`. told: what the network is given beside it, one number for each branch."""
    if len(latents) > 1 and latents[0, :, 0].numel() // 4 > TOKENS_TOGETHER:
        branches = ((latents[at : at + 1], [prompt]) for at, prompt in enumerate(prompts))
        return torch.cat(
            [velocity(network, device, one, timestep, condition, own, told) for one, own in branches]
        )
    place, number_format, count = device.torch, device.dtype, len(latents)
    shared = condition.to(place).expand(count, *condition.shape)
    given = torch.cat([latents.to(place), shared], dim=2).transpose(1, 2)
    inputs = {
        name: torch.cat([prompt.inputs[name].to(place, number_format) for prompt in prompts])
        for name in prompts[0].inputs
    }
    for name, value in (told or {}).items():
        inputs[name] = torch.full((count,), value, dtype=number_format, device=place)
    predicted = network(
        hidden_states=given.to(number_format),
        timestep=torch.full((count,), float(timestep), device=place),
        return_dict=False,
        **inputs,
    )[0]
    return torch.as_tensor(predicted.float().transpose(1, 2))


@contextmanager
def computing_again(network: Any) -> Iterator[None]:
    """See `VideoBackbone.saving_memory`."""
    network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        network.disable_gradient_checkpointing()


def released(device: Device) -> None:
    """Give back the memory of what nobody holds any more."""
    gc.collect()
    if device.kind == "cuda":
        torch.cuda.empty_cache()


def fitted_size(width: int, height: int, side: int, step: int, reduction: int) -> WorkingSize:
    """The size to work at: see `Backbone.working_size`. step: pixels that both are divided by; reduction:
    pixels per latent cell along a side.
    """
    scale = side / math.sqrt(width * height)
    fitted_width = max(step, round(width * scale / step) * step)
    fitted_height = max(step, round(height * scale / step) * step)
    return WorkingSize(fitted_width, fitted_height, fitted_width // reduction, fitted_height // reduction)


def whole(value: object, otherwise: int) -> int:
    """A number above 0 as a folder's `mattebox.json` gives it."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else otherwise
