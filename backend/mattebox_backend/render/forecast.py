"""What a render on an image-to-video model would take of memory, told before anything of it is loaded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from mattebox_media.clip import ClipInfo

from mattebox_backend.backbones.protocol import WorkingSize
from mattebox_backend.backbones.video_parts import weight_bytes
from mattebox_backend.backbones.video_protocol import VideoBackbone, padded_length
from mattebox_backend.device import Device, total_memory_mb
from mattebox_backend.edit import Edit
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.lora.adapter import AdapterPlan
from mattebox_backend.lora.planner import USABLE, Plan
from mattebox_backend.methods import find_method
from mattebox_backend.methods.mask_lora import learnt_windows, made_windows
from mattebox_backend.render.memory import MemoryPlanner
from mattebox_backend.render.pipeline import regions_of, view_of
from mattebox_backend.render.stages import BackboneSource
from mattebox_backend.render.validation import validate

_GIBIBYTE, _MEBIBYTE = 1 << 30, 1 << 20
_METHOD = "mask-lora"


@dataclass(frozen=True, slots=True)
class Forecast:
    """memory: bytes that were counted with. size, frames: of the clip as the model takes it. blocks: of the
    network. training, generation: the plans, for `training_frames` and `generation_frames` together.
    autoencoder: bytes at its peak, encoding or decoding as many; tiled: it works on one part of the picture
    after the other. prompt: bytes of weights that encode the prompt.
    """

    backbone: str
    device: Device
    memory: float
    size: WorkingSize
    frames: int
    blocks: int
    training: Plan
    training_frames: int
    generation: Plan
    generation_frames: int
    autoencoder: float
    tiled: bool
    prompt: int


def forecast(
    edit: Edit, info: ClipInfo, *, models: BackboneSource, device: Device, card_memory: int = 0
) -> Forecast:
    """What the planner would pick for an edit on a device, of which all memory is counted with, or on a CUDA
    card with `card_memory` bytes that need not be there.

    Raises `InvalidEdit` for an edit that cannot be made, of a method that has no plan, or which does not fit;
    and the errors of the model registry.
    """
    if edit.method != _METHOD:
        raise InvalidEdit(
            f"Memory is planned for edits by {_METHOD}, and this one is by {edit.method}; set method to "
            f"{_METHOD}."
        )
    validate(edit, info)
    if card_memory:
        device = Device("cuda", 0, device.precision if device.kind == "cuda" else "bfloat16")
    backbone = models.outline_video(edit.backbone, device)
    params = find_method(_METHOD).parse(edit.params, backbone.defaults.get(_METHOD))
    memory = _memory(backbone, card_memory)
    if params.memory:
        memory = min(memory, params.memory * _GIBIBYTE)
    view = view_of(backbone, info, regions_of(edit, params), params)
    frames = padded_length(edit.frame_count, backbone.frame_stride)
    return _planned(backbone, dataclasses.replace(params, memory=memory / _GIBIBYTE), view.size, frames)


def _planned(backbone: VideoBackbone, p: Any, size: WorkingSize, frames: int) -> Forecast:
    planner = MemoryPlanner(backbone, p, size, frames)
    adapter = AdapterPlan(p.rank, p.alpha, p.feed_forward)
    learnt = len(learnt_windows(backbone, frames, planner.training_window())[0])
    made = len(made_windows(backbone, frames, p)[0][0])
    return Forecast(
        backbone.name,
        backbone.device,
        p.memory * _GIBIBYTE,
        size,
        frames,
        len(backbone.blocks),
        planner.training(adapter, learnt),
        learnt,
        planner.sampling(adapter, made),
        made,
        planner.autoencoder(max(learnt, made)),
        bool(getattr(backbone.vae, "use_tiling", False)),
        backbone.prompt_bytes,
    )


def _memory(backbone: VideoBackbone, card_memory: int) -> float:
    """Bytes there are for the network. A card holds what encodes prompts only while it does; elsewhere it
    shares the machine's memory with the network.

    Raises `InvalidEdit` where there is not even room for that.
    """
    device = backbone.device
    memory = float(card_memory or total_memory_mb(device) * _MEBIBYTE)
    encoders = backbone.prompt_bytes
    if encoders > USABLE * memory:
        raise InvalidEdit(
            f"What encodes the prompts of {backbone.name} needs {encoders / USABLE / _MEBIBYTE:,.0f} MB at "
            f"least and there are {memory / _MEBIBYTE:,.0f} MB; use a card with more memory, or a smaller "
            "model."
        )
    if device.kind == "cuda":
        return memory
    return memory - encoders - weight_bytes(backbone.vae, torch.float32)
