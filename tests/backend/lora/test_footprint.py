"""The bytes that a footprint counts with, against what lives while the networks really run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    AutoencoderKLWan,
    HunyuanVideoTransformer3DModel,
    WanTransformer3DModel,
)
from mattebox_backend.backbones import load_video_backbone
from mattebox_backend.bench.live_memory import LiveMemory
from mattebox_backend.device import Device, Precision
from mattebox_backend.errors import ModelRefused
from mattebox_backend.lora.autoencoder_memory import autoencoder_bytes
from mattebox_backend.lora.footprint import Footprint, footprint, loaded_footprint
from mattebox_backend.lora.planner import ClipSize, Settings, expect_sampling, expect_training
from peft import LoraConfig, inject_adapter_in_model
from torch._subclasses.fake_tensor import FakeTensorMode

RANK = 16
EXACT = ("rope", "time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")


@dataclass(frozen=True, slots=True)
class Shape:
    """A network and a clip. size: latent frames, rows, columns."""

    heads: int
    feed_forward: int
    layers: int
    size: tuple[int, int, int]
    head_width: int = 128

    @property
    def clip(self) -> ClipSize:
        frames, rows, columns = self.size
        return ClipSize(4 * frames - 3, 8 * columns, 8 * rows, columns, rows, 4)


def wan(shape: Shape) -> tuple[Any, list[Any]]:
    """On the meta device, and its blocks."""
    width = shape.heads * shape.head_width
    with torch.device("meta"):
        network = WanTransformer3DModel(
            num_attention_heads=shape.heads,
            attention_head_dim=shape.head_width,
            in_channels=36,
            text_dim=64,
            ffn_dim=shape.feed_forward,
            num_layers=shape.layers,
            image_dim=32,
            added_kv_proj_dim=width,
        )
    return network.requires_grad_(False), list(network.blocks)


def wan_layers(shape: Shape, feed_forward: bool) -> list[str]:
    layers = [f"{a}.{b}" for a in ("attn1", "attn2") for b in ("to_q", "to_k", "to_v", "to_out.0")]
    layers += ["ffn.net.0.proj", "ffn.net.2"] if feed_forward else []
    return [f"blocks.{block}.{layer}" for block in range(shape.layers) for layer in layers]


def wan_inputs(shape: Shape, number_format: torch.dtype) -> dict[str, Any]:
    return {
        "hidden_states": torch.randn(1, 36, *shape.size, dtype=number_format),
        "timestep": torch.full((1,), 500.0),
        "encoder_hidden_states": torch.randn(1, 512, 64, dtype=number_format),
        "encoder_hidden_states_image": torch.randn(1, 257, 32, dtype=number_format),
    }


def hunyuan(shape: Shape) -> tuple[Any, list[Any]]:
    """Half of its blocks are of either kind."""
    width = shape.heads * shape.head_width
    with torch.device("meta"):
        network = HunyuanVideoTransformer3DModel(
            in_channels=33,
            num_attention_heads=shape.heads,
            attention_head_dim=shape.head_width,
            num_layers=shape.layers // 2,
            num_single_layers=shape.layers // 2,
            mlp_ratio=shape.feed_forward / width,
            text_embed_dim=64,
            pooled_projection_dim=32,
            image_condition_type="latent_concat",
        )
    blocks = [*network.transformer_blocks, *network.single_transformer_blocks]
    return network.requires_grad_(False), blocks


def hunyuan_layers(shape: Shape, feed_forward: bool) -> list[str]:
    attention = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    dual = [f"attn.{layer}" for layer in attention]
    single = [f"attn.{layer}" for layer in attention[:3]]
    if feed_forward:
        dual += [f"{a}.net.{b}" for a in ("ff", "ff_context") for b in ("0.proj", "2")]
        single += ["proj_mlp", "proj_out"]
    half = range(shape.layers // 2)
    layers = [f"transformer_blocks.{block}.{layer}" for block in half for layer in dual]
    return layers + [f"single_transformer_blocks.{block}.{layer}" for block in half for layer in single]


def hunyuan_inputs(shape: Shape, number_format: torch.dtype) -> dict[str, Any]:
    return {
        "hidden_states": torch.randn(1, 33, *shape.size, dtype=number_format),
        "timestep": torch.full((1,), 500.0, dtype=number_format),
        "encoder_hidden_states": torch.randn(1, 540, 64, dtype=number_format),
        "encoder_attention_mask": torch.ones(1, 540, dtype=number_format),
        "pooled_projections": torch.randn(1, 32, dtype=number_format),
        "guidance": torch.full((1,), 6000.0, dtype=number_format),
    }


FAMILIES: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "wan": (wan, wan_layers, wan_inputs),
    "hunyuan": (hunyuan, hunyuan_layers, hunyuan_inputs),
}


def counted(family: str, shape: Shape, precision: Precision, feed_forward: bool) -> Footprint:
    build, layers, _ = FAMILIES[family]
    network, blocks = build(shape)
    return footprint(family, network, blocks, layers(shape, feed_forward), RANK, precision)


def measured(
    family: str,
    shape: Shape,
    precision: Precision,
    feed_forward: bool,
    *,
    checkpointing: bool = False,
    training: bool = True,
    real: bool = False,
) -> int:
    """Bytes beside the weights at the peak of a step. real: computed with numbers, not with shapes alone."""
    build, layers, inputs = FAMILIES[family]
    number_format = torch.float32 if precision == "float32" else torch.bfloat16
    network, _ = build(shape)
    inject_adapter_in_model(LoraConfig(r=RANK, target_modules=layers(shape, feed_forward)), network)
    mode: AbstractContextManager[Any] = nullcontext() if real else FakeTensorMode()
    with mode:
        materialise(network, number_format)
        if checkpointing:
            network.enable_gradient_checkpointing()
        given = inputs(shape, number_format)
        live = LiveMemory([*network.parameters(), *network.buffers()])
        autocast = training and number_format != torch.float32
        with live, torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            velocity = network(**given, return_dict=False)[0].float()
            if training:
                velocity.square().mean().backward()
    return live.peak


def materialise(network: Any, number_format: torch.dtype) -> None:
    """Weights on the CPU in the formats that diffusers loads them in; the adapter in float32."""
    for prefix, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{prefix}.{name}"
            exact = ".lora_" in full or (network._keep_in_fp32_modules and set(full.split(".")) & set(EXACT))
            dtype = torch.float32 if exact else number_format
            values = 0.02 * torch.randn(parameter.shape, dtype=dtype)
            module._parameters[name] = torch.nn.Parameter(values, requires_grad=".lora_" in full)
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.rand(buffer.shape, dtype=buffer.dtype)


SHAPES = {
    "14B": Shape(40, 13824, 3, (13, 60, 104)),
    "14B, 9 frames": Shape(40, 13824, 3, (3, 60, 104)),
    "14B, one frame": Shape(40, 13824, 3, (1, 60, 104)),
    "1.3B": Shape(12, 8960, 4, (13, 60, 104)),
}


@pytest.mark.parametrize(
    ("size", "precision", "feed_forward", "checkpointing"),
    [
        ("14B", "bfloat16", True, False),
        ("14B", "bfloat16", True, True),
        ("14B", "bfloat16", False, True),
        ("14B", "float32", True, True),
        ("14B, 9 frames", "bfloat16", True, True),
        ("14B, one frame", "bfloat16", True, True),
        ("1.3B", "float32", False, False),
    ],
)
def test_a_training_step_of_wan_takes_what_is_expected(
    size: str, precision: Precision, feed_forward: bool, checkpointing: bool
) -> None:
    shape = SHAPES[size]
    expected = expect_training(
        counted("wan", shape, precision, feed_forward), shape.clip, Settings(0, checkpointing, 0)
    )
    found = measured("wan", shape, precision, feed_forward, checkpointing=checkpointing)
    assert expected.activations == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize(
    ("size", "precision", "feed_forward"),
    [("14B", "bfloat16", True), ("1.3B", "float32", False)],
)
def test_a_step_of_sampling_with_wan_takes_what_is_expected(
    size: str, precision: Precision, feed_forward: bool
) -> None:
    shape = SHAPES[size]
    network = counted("wan", shape, precision, feed_forward)
    expected = expect_sampling(network, shape.clip, Settings(0, False, 0), branches=1)
    found = measured("wan", shape, precision, feed_forward, training=False)
    assert expected.activations == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize(
    ("precision", "feed_forward", "checkpointing"),
    [("bfloat16", True, False), ("bfloat16", True, True), ("float32", False, True)],
)
def test_a_training_step_of_hunyuan_video_takes_what_is_expected(
    precision: Precision, feed_forward: bool, checkpointing: bool
) -> None:
    shape = Shape(24, 12288, 4, (13, 60, 104))
    expected = expect_training(
        counted("hunyuan", shape, precision, feed_forward), shape.clip, Settings(0, checkpointing, 0)
    )
    found = measured("hunyuan", shape, precision, feed_forward, checkpointing=checkpointing)
    assert expected.activations == pytest.approx(found, rel=0.1)


def test_a_step_of_sampling_with_hunyuan_video_takes_what_is_expected() -> None:
    shape = Shape(24, 12288, 4, (13, 60, 104))
    network = counted("hunyuan", shape, "bfloat16", True)
    expected = expect_sampling(network, shape.clip, Settings(0, False, 0), branches=1)
    found = measured("hunyuan", shape, "bfloat16", True, training=False)
    assert expected.activations == pytest.approx(found, rel=0.1)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize(
    "shape",
    [Shape(2, 64, 3, (3, 16, 24), head_width=16), Shape(8, 1536, 4, (3, 32, 32), head_width=64)],
    ids=["tiny", "middling"],
)
def test_a_real_step_takes_what_is_expected(shape: Shape, checkpointing: bool) -> None:
    network = counted("wan", shape, "float32", True)
    expected = expect_training(network, shape.clip, Settings(0, checkpointing, 0))
    found = measured("wan", shape, "float32", True, checkpointing=checkpointing, real=True)
    assert expected.activations == pytest.approx(found, rel=0.1)


def test_what_a_block_keeps_is_what_autograd_saves() -> None:
    """Counted the other way: what goes through `saved_tensors_hooks`, weights aside, of a block in the
    middle.
    """
    shape = Shape(4, 512, 3, (3, 32, 32), head_width=64)
    network, _ = wan(shape)
    inject_adapter_in_model(LoraConfig(r=RANK, target_modules=wan_layers(shape, True)), network)
    materialise(network, torch.float32)
    weights = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}
    alive: list[Any] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)  # else its address might be given out again
        return tensor.detach()

    marks: list[int] = []
    handles = [
        network.blocks[1].register_forward_pre_hook(lambda *_: marks.append(sum(kept.values()))),
        network.blocks[2].register_forward_pre_hook(lambda *_: marks.append(sum(kept.values()))),
    ]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(**wan_inputs(shape, torch.float32))
    for handle in handles:
        handle.remove()
    block = counted("wan", shape, "float32", True).blocks[1]
    tokens = 3 * 16 * 16
    assert block.kept.of(tokens) == pytest.approx(marks[1] - marks[0], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [3, 13], ids=["9 frames", "49 frames"])
def test_it_holds_for_all_forty_blocks_of_the_full_model(frames: int) -> None:
    shape = Shape(40, 13824, 40, (frames, 60, 104))
    network = counted("wan", shape, "bfloat16", True)
    expected = expect_training(network, shape.clip, Settings(0, True, 0))
    found = measured("wan", shape, "bfloat16", True, checkpointing=True)
    assert expected.activations == pytest.approx(found, rel=0.02)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_weights_are_counted_as_they_are_loaded(tiny_wan: Path, precision: Precision) -> None:
    loaded = load_video_backbone(tiny_wan, Device("cpu", 0, precision))
    layers = loaded.adapter_layers(feed_forward=True)
    found = footprint("tiny", loaded.network, loaded.blocks, layers, 4, precision)
    assert found.weights == sum(p.nbytes for p in loaded.network.parameters())
    assert [b.weights for b in found.blocks] == [
        sum(p.nbytes for p in block.parameters()) for block in loaded.blocks
    ]
    assert loaded_footprint(loaded, 4, feed_forward=True) == replace(found, name="tiny-wan")
    inject_adapter_in_model(LoraConfig(r=4, target_modules=list(layers)), loaded.network)
    learns = sum(p.numel() for name, p in loaded.network.named_parameters() if ".lora_" in name)
    assert found.adapter_parameters == learns
    assert footprint("tiny", loaded.network, loaded.blocks, layers, 4, precision) == found


def decoding(vae: Any, latents: tuple[int, int, int]) -> int:
    """Bytes at the peak, weights included."""
    with FakeTensorMode():
        materialise_vae(vae)
        live, given = LiveMemory(vae.parameters()), torch.randn(1, 16, *latents)
        with torch.no_grad(), live:
            vae.decode(given)
    return live.peak + sum(parameter.nbytes for parameter in vae.parameters())


def materialise_vae(vae: Any) -> None:
    for module in vae.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module._parameters[name] = torch.nn.Parameter(torch.empty(parameter.shape), False)


@pytest.mark.parametrize(("channels", "size"), [(96, (3, 60, 104)), (96, (5, 16, 16)), (32, (3, 32, 24))])
def test_wans_autoencoder_takes_what_is_expected(channels: int, size: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        vae = AutoencoderKLWan(base_dim=channels).requires_grad_(False)
    expected = autoencoder_bytes(vae, 4 * size[0] - 3, 8 * size[2], 8 * size[1])
    assert expected == pytest.approx(decoding(vae, size), rel=0.05)


@pytest.mark.slow
def test_hunyuan_videos_autoencoder_takes_what_is_expected() -> None:
    with torch.device("meta"):
        vae = AutoencoderKLHunyuanVideo().requires_grad_(False)
    vae.enable_tiling()
    expected = autoencoder_bytes(vae, 9, 832, 480)
    assert expected == pytest.approx(decoding(vae, (3, 60, 104)), rel=0.1)


def test_tokens_are_whole_patches_and_the_joint_text() -> None:
    plain = counted("wan", SHAPES["14B"], "bfloat16", True)
    assert plain.tokens(13, 60, 104) == 13 * 30 * 52
    assert plain.tokens(1, 5, 7) == 3 * 4
    joint = counted("hunyuan", Shape(2, 128, 2, (1, 4, 4)), "bfloat16", True)
    assert joint.tokens(2, 4, 6) == 2 * 2 * 3 + 540


def test_blocks_that_were_not_measured_are_refused() -> None:
    network, blocks = wan(Shape(2, 64, 2, (1, 4, 4)))
    with pytest.raises(ModelRefused, match=r"What the blocks of the model odd \(Identity\) take of memory"):
        footprint("odd", network, [*blocks, torch.nn.Identity()], [], 4, "float32")


def test_live_memory_counts_what_lives_together() -> None:
    first = torch.zeros(100, dtype=torch.uint8)
    with LiveMemory([first]) as live:
        view = first[10:]  # nothing new
        assert live.now == 0
        one = torch.ones(1000, dtype=torch.uint8)
        two = one + one
        assert live.now == 2000
        del one
        three = two[:5].clone()
        del two
    assert (live.now, live.peak) == (5, 2000)
    del view, three
    assert live.now == 0
