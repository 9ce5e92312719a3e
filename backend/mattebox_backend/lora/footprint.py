"""What decides how much memory a network takes while an adapter of it is trained, or used.

The bytes per token were measured, not derived: the networks' own forward and backward passes were run on
tensors without content (`torch._subclasses.FakeTensorMode`), counting what lives at every moment, over
widths, lengths and numbers of layers; they came out as whole numbers. `tests/backend/lora/test_footprint.py`
measures again, up to the full size of Wan2.1-I2V-14B.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mattebox_backend.backbones.video_protocol import VideoBackbone
from mattebox_backend.device import Precision
from mattebox_backend.errors import ModelRefused

_TEXT_TOKENS, _PICTURE_TOKENS = 512, 257
"""What Wan's blocks are given of every text, and of the picture."""
_JOINT_TOKENS = 540
"""What HunyuanVideo's blocks are given of both."""
_FEED_FORWARD = {"ffn", "ff", "ff_context", "proj_mlp", "proj_out"}
_ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

_PerToken = tuple[float, float]
"""Bytes per token: so many for every channel of the network's width, so many for every one of its
feed-forward layers.
"""


@dataclass(frozen=True, slots=True)
class _BlockCosts:
    """kept: what the backward pass needs of one block. working: what lives beside it while one is computed,
    forward or backward, at the hungriest of some moments; sampling: the same where no gradient is wanted.
    """

    kept: _PerToken
    working: tuple[_PerToken, ...]
    sampling: tuple[_PerToken, ...]


# By class of block, bytes of a number, and whether the adapter is on feed-forward layers too. Half precision
# trains under autocast, with an adapter in float32.
_COSTS = {
    ("WanTransformerBlock", 2, False): _BlockCosts((50, 2), ((21.4, 0),), ((29, 0), (9, 4))),
    ("WanTransformerBlock", 2, True): _BlockCosts((52, 4), ((17.4, 6),), ((29, 0), (13, 10))),
    ("WanTransformerBlock", 4, False): _BlockCosts((64, 4), ((13.7, 4), (1.7, 8)), ((41, 0), (17, 8))),
    ("WanTransformerBlock", 4, True): _BlockCosts((68, 8), ((13.7, 4), (1.7, 8)), ((41, 0), (17, 12))),
    ("HunyuanVideoTransformerBlock", 2, False): _BlockCosts((32.1, 2), ((12, 3.5),), ((28.1, 2),)),
    ("HunyuanVideoTransformerBlock", 2, True): _BlockCosts((34.1, 4), ((15.8, 8),), ((27, 8),)),
    ("HunyuanVideoTransformerBlock", 4, False): _BlockCosts((36.1, 4), ((19.8, 8),), ((39, 6.5),)),
    ("HunyuanVideoTransformerBlock", 4, True): _BlockCosts((40.1, 8), ((8, 8),), ((37, 8),)),
    ("HunyuanVideoSingleTransformerBlock", 2, False): _BlockCosts((28.1, 2), ((12, 3.5),), ((28.1, 2),)),
    ("HunyuanVideoSingleTransformerBlock", 2, True): _BlockCosts((32.1, 4), ((15.8, 8),), ((27, 8),)),
    ("HunyuanVideoSingleTransformerBlock", 4, False): _BlockCosts((32.1, 4), ((19.8, 8),), ((39, 6.5),)),
    ("HunyuanVideoSingleTransformerBlock", 4, True): _BlockCosts((40.1, 8), ((8, 8),), ((37, 8),)),
}


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes that grow with the tokens of a clip."""

    per_token: float
    fixed: float = 0.0

    def of(self, tokens: int) -> float:
        """Of a clip of so many tokens."""
        return self.per_token * tokens + self.fixed


@dataclass(frozen=True, slots=True)
class BlockFootprint:
    """Of one transformer block. weights: bytes, frozen. kept: what the backward pass needs of it. entering:
    what comes into it, which alone is kept where it is computed again.
    """

    weights: int
    kept: Bytes
    entering: Bytes


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of a network with an adapter.

    blocks: in the order in which they run. other_weights: bytes of all else. adapter_parameters: a number;
    each is a float32. casts: bytes of the adapter's copies in half precision. working, sampling: what lives
    beside weights and kept activations at the hungriest moments of training, and of sampling. patch: latent
    frames, rows and columns that become a token. joint_tokens: of the text, that run with the clip's. width:
    channels of a token.
    """

    name: str
    blocks: tuple[BlockFootprint, ...]
    other_weights: int
    adapter_parameters: int
    casts: int
    working: tuple[Bytes, ...]
    sampling: tuple[Bytes, ...]
    patch: tuple[int, int, int]
    joint_tokens: int
    width: int

    @property
    def weights(self) -> int:
        """Bytes of all frozen weights."""
        return self.other_weights + sum(block.weights for block in self.blocks)

    def tokens(self, latent_frames: int, latent_height: int, latent_width: int) -> int:
        """Of latents (T, C, h, w)."""
        sizes = zip((latent_frames, latent_height, latent_width), self.patch, strict=True)
        return math.prod(-(-size // step) for size, step in sizes) + self.joint_tokens


def loaded_footprint(backbone: VideoBackbone, rank: int, *, feed_forward: bool) -> Footprint:
    """Of a loaded backbone with an adapter of a rank, on its attention or on all layers of its blocks."""
    layers = backbone.adapter_layers(feed_forward=feed_forward)
    return footprint(
        backbone.name, backbone.network, backbone.blocks, layers, rank, backbone.device.precision
    )


def footprint(
    name: str,
    network: Any,
    blocks: Sequence[torch.nn.Module],
    adapter_layers: Sequence[str],
    rank: int,
    precision: Precision,
) -> Footprint:
    """Of a network, which may lie on the meta device: only its shapes count.

    blocks: of it, in the order in which they run. adapter_layers: names of the linear layers with an adapter
    of `rank`. precision: what the weights are loaded in and computed with.

    Raises `ModelRefused` for blocks that have not been measured.
    """
    item = _ITEM_BYTES[precision]
    feed_forward = any(_FEED_FORWARD & set(layer.split(".")) for layer in adapter_layers)
    kinds = {type(block).__name__ for block in blocks}
    unknown = sorted(kind for kind in kinds if (kind, item, feed_forward) not in _COSTS)
    if unknown:
        raise ModelRefused(
            f"What the blocks of the model {name} ({', '.join(unknown)}) take of memory is not known; set "
            "training_window, checkpointing and blocks_to_swap by hand."
        )
    costs = {kind: _COSTS[kind, item, feed_forward] for kind in kinds}
    config = network.config
    width = int(config.num_attention_heads) * int(config.attention_head_dim)
    joint = "WanTransformerBlock" not in kinds
    inner = round(config.mlp_ratio * width) if joint else int(config.ffn_dim)
    beside = 0 if joint else item * width  # bytes of a text's token, where it does not run with the clip's
    adapted = len(adapter_layers) / len(blocks)

    def bytes_of(costs: _PerToken, text_tokens: float = 0.0, rank: float = 0.0) -> Bytes:
        return Bytes(costs[0] * width + costs[1] * inner + item * rank, beside * text_tokens)

    def of_block(block: torch.nn.Module) -> BlockFootprint:
        kept = costs[type(block).__name__].kept
        text_tokens = (6.1 if item == 2 else 3.05) * _TEXT_TOKENS + 2 * _PICTURE_TOKENS
        size = _stored(network, block.named_parameters(), item)
        return BlockFootprint(size, bytes_of(kept, text_tokens, adapted * rank), Bytes(item * width))

    ours = {id(parameter) for block in blocks for parameter in block.parameters()}
    others = [(name, weight) for name, weight in network.named_parameters() if id(weight) not in ours]
    parameters = rank * sum(sum(network.get_submodule(layer).weight.shape) for layer in adapter_layers)
    working = [moment for kind in costs.values() for moment in kind.working]
    sampling = [moment for kind in costs.values() for moment in kind.sampling]
    return Footprint(
        name=name,
        blocks=tuple(map(of_block, blocks)),
        other_weights=_stored(network, others, item),
        adapter_parameters=parameters,
        casts=2 * parameters if item == 2 else 0,
        working=tuple(bytes_of(moment, 2.5 * _TEXT_TOKENS) for moment in working),
        sampling=tuple(bytes_of(moment, 3.5 * (_TEXT_TOKENS + _PICTURE_TOKENS)) for moment in sampling),
        patch=_patch(config),
        joint_tokens=_JOINT_TOKENS if joint else 0,
        width=width,
    )


def _patch(config: Any) -> tuple[int, int, int]:
    if isinstance(config.patch_size, int):
        return int(config.patch_size_t), config.patch_size, config.patch_size
    frames, rows, columns = config.patch_size
    return int(frames), int(rows), int(columns)


def _stored(network: Any, weights: Iterable[tuple[str, torch.nn.Parameter]], item: int) -> int:
    """Bytes, as diffusers loads them: some layers stay in float32 (`_keep_in_fp32_modules`)."""
    exact = tuple(network._keep_in_fp32_modules or ())
    return sum(
        weight.numel() * (4 if set(name.split(".")) & set(exact) else item)
        for name, weight in weights
        if ".lora_" not in name
    )
