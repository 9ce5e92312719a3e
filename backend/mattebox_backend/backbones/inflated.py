"""An image model inflated over time, for one-shot tuning (Tune-A-Video, section 4.1): a temporal attention
in every transformer block, which changes nothing before it is trained.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import nn

from mattebox_backend.attention import CallLayout
from mattebox_backend.backbones.stable_diffusion import StableDiffusion

_TRAINED = (".attn1.to_q.", ".attn2.to_q.", ".attn_temp.", ".norm_temp.")
"""What one-shot tuning trains: queries, and all of the temporal attention."""


class InflatedBlock(nn.Module):
    """A transformer block, and after it attention of every place to itself in all frames.

    The output projection of the temporal attention begins as zero, so that an untrained block is the image
    model's own.
    """

    def __init__(self, block: BasicTransformerBlock) -> None:
        super().__init__()
        width = block.attn1.to_q.in_features
        self.block = block
        self.norm_temp = nn.LayerNorm(width)
        self.attn_temp = Attention(width, heads=block.attn1.heads, dim_head=width // block.attn1.heads)
        nn.init.zeros_(self.attn_temp.to_out[0].weight)
        nn.init.zeros_(self.attn_temp.to_out[0].bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        timestep: torch.Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        class_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """hidden_states: (branches × frames, h·w, C), as the block itself takes them."""
        hidden_states = self.block(
            hidden_states,
            attention_mask=attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            timestep=timestep,
            cross_attention_kwargs=cross_attention_kwargs,
            class_labels=class_labels,
        )
        layout: CallLayout = (cross_attention_kwargs or {})["layout"]
        branches, frames = len(layout.branches), len(layout.frames)
        tokens, width = hidden_states.shape[1:]
        over_time = hidden_states.view(branches, frames, tokens, width).transpose(1, 2).flatten(0, 1)
        change = self.attn_temp(self.norm_temp(over_time), layout=layout)
        change = change.view(branches, tokens, frames, width).transpose(1, 2)
        moved: torch.Tensor = hidden_states + change.reshape(hidden_states.shape)
        return moved


def inflate(backbone: StableDiffusion, seed: int = 0) -> StableDiffusion:
    """A copy of a backbone with temporal attention in every block, whose other weights are copies too; the
    one that was given stays as it is.

    seed: of the new weights. What it predicts is what the image model predicts until it has been tuned.
    """
    unet = copy.deepcopy(backbone.unet)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in list(unet.modules()):
            blocks = getattr(module, "transformer_blocks", None)
            if isinstance(blocks, nn.ModuleList):
                for place, block in enumerate(blocks):
                    if isinstance(block, BasicTransformerBlock):
                        blocks[place] = InflatedBlock(block).to(backbone.device.torch, backbone.device.dtype)
    unet.requires_grad_(False).eval()
    return dataclasses.replace(backbone, unet=unet, identity=_identity(backbone, f"inflated:{seed}"))


def tuned_parameters(backbone: StableDiffusion) -> Iterator[tuple[str, nn.Parameter]]:
    """What one-shot tuning trains of an inflated backbone, by name."""
    for name, parameter in backbone.unet.named_parameters():
        if any(part in name for part in _TRAINED):
            yield name, parameter


def with_weights(
    backbone: StableDiffusion, weights: Mapping[str, torch.Tensor], origin: str
) -> StableDiffusion:
    """The inflated backbone with tuned weights put in, under an identity of its own. origin: what they were
    tuned on.
    """
    with torch.no_grad():
        for name, parameter in tuned_parameters(backbone):
            parameter.copy_(weights[name].to(parameter))
    return dataclasses.replace(backbone, identity=_identity(backbone, f"tuned:{origin}"))


def _identity(backbone: StableDiffusion, change: str) -> str:
    return hashlib.sha256(f"{backbone.identity}/{change}".encode()).hexdigest()
