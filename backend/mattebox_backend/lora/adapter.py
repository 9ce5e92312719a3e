"""A LoRA on a model's attention blocks, by peft (Hu et al., 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict

from mattebox_backend.backbones.video_protocol import VideoBackbone

Weights = Mapping[str, torch.Tensor]
"""By peft's names, without a prefix: `blocks.0.attn1.to_q.lora_A.weight`."""

_NAME = "mask-lora"


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """rank, alpha: the adapter adds `alpha / rank · B·A` to a layer. feed_forward: to all linear layers of
    the blocks instead of those of attention alone.
    """

    rank: int = 16
    alpha: float = 16.0
    feed_forward: bool = True

    def config(self, backbone: VideoBackbone) -> LoraConfig:
        """As peft is told."""
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            target_modules=list(backbone.adapter_layers(feed_forward=self.feed_forward)),
        )


@contextmanager
def adapted(
    backbone: VideoBackbone, plan: AdapterPlan, weights: Weights | None = None, seed: int = 0
) -> Iterator[dict[str, torch.nn.Parameter]]:
    """Within the block the backbone's network has an adapter; after it, it is what it was.

    weights: of an adapter that was made before; None: a fresh one, which changes nothing yet (B = 0, and A
    drawn from `seed`). Yields the adapter's parameters, float32, by peft's names; they ask for no gradient.
    """
    network: Any = backbone.network
    network.add_adapter(plan.config(backbone), adapter_name=_NAME)
    try:
        parameters = {
            name.replace(f".{_NAME}", ""): parameter
            for name, parameter in network.named_parameters()
            if f".{_NAME}." in name
        }
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in parameters.items():
            parameter.requires_grad_(False)
            parameter.data = parameter.data.float()
            value = _drawn(name, parameter, generator) if weights is None else weights[name]
            parameter.data.copy_(value)
        yield parameters
    finally:
        network.unload_lora()


def adapter_weights(backbone: VideoBackbone) -> dict[str, torch.Tensor]:
    """A copy of the weights of the adapter that a backbone has, on the CPU."""
    state = get_peft_model_state_dict(backbone.network, adapter_name=_NAME)
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def _drawn(name: str, parameter: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """As peft draws a fresh adapter, but from a generator: A evenly within ±1/√inputs (Kaiming), B zero."""
    if ".lora_B." in name:
        return torch.zeros(parameter.shape)
    evenly = 2 * torch.rand(parameter.shape, generator=generator) - 1
    reach: float = parameter.shape[1] ** -0.5
    return evenly * reach
