"""What a video autoencoder takes of memory while it decodes, which takes more than encoding."""

from __future__ import annotations

from typing import Any

import torch

from mattebox_backend.errors import ModelRefused

_WAN_PER_PIXEL = 203.5
"""Bytes per pixel of a frame and channel of the finest level: frames go through one after the other, four of
them at a time.
"""
_HUNYUAN_TILE, _HUNYUAN_PER_PIXEL = 2.29e9, 161.0
"""Bytes of a tile of 256×256 pixels and 16 frames, with 128 channels on the finest level; and per pixel of
all frames, of which the tiles are put together.
"""


def autoencoder_bytes(vae: Any, frames: int, width: int, height: int) -> float:
    """At the peak, its weights included, of so many frames of width × height pixels, in float32.

    Measured as in `footprint`. Raises `ModelRefused` for an autoencoder that has not been.
    """
    kind, pixels = type(vae).__name__, float(width * height)
    weights = float(sum(parameter.numel() for parameter in vae.parameters()) * torch.float32.itemsize)
    if kind == "AutoencoderKLWan":
        return weights + pixels * (_WAN_PER_PIXEL * int(vae.config.base_dim) + 12 * frames)
    if kind == "AutoencoderKLHunyuanVideo":
        share = int(vae.config.block_out_channels[0]) / 128
        return weights + _HUNYUAN_TILE * share + _HUNYUAN_PER_PIXEL * pixels * frames
    raise ModelRefused(f"What a {kind} takes of memory is not known.")
