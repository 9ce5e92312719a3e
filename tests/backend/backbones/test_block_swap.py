"""Block swap: the same numbers from less memory, and a network that is left as it was found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from mattebox_backend.backbones.block_swap import BlockSwap, spread
from mattebox_backend.backbones.resting import BlockWeights, HostMemory, MappedFiles
from mattebox_backend.errors import InvalidEdit
from peft import LoraConfig, inject_adapter_in_model

CPU = torch.device("cpu")
BLOCKS = 5
DEVICES = ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]

Gradients = dict[str, torch.Tensor]


def build(layers: int = BLOCKS) -> Any:
    """A Wan transformer with an adapter in it, whose both halves are random."""
    torch.manual_seed(5)
    network = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=36,
        text_dim=32,
        freq_dim=16,
        ffn_dim=48,
        num_layers=layers,
        image_dim=24,
        added_kv_proj_dim=32,
        rope_max_seq_len=32,
    ).requires_grad_(False)
    inject_adapter_in_model(
        LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]), network
    )
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture
def network() -> Any:
    return build()


def predicted(network: Any) -> torch.Tensor:
    device = network.patch_embedding.weight.device
    generator = torch.Generator().manual_seed(6)
    shapes = ((1, 36, 2, 4, 6), (1, 512, 32), (1, 5, 24))
    latents, text, picture = (torch.randn(shape, generator=generator).to(device) for shape in shapes)
    timestep = torch.tensor([300.0], device=device)
    return torch.as_tensor(network(latents, timestep, text, picture, return_dict=False)[0])


def trained(network: Any) -> tuple[torch.Tensor, Gradients]:
    """The loss of a step, and the gradients of everything that learns."""
    network.zero_grad()
    loss = predicted(network).square().mean()
    loss.backward()
    parameters = network.named_parameters()
    return loss.detach().cpu(), {name: p.grad.cpu().clone() for name, p in parameters if p.grad is not None}


def block_bytes(network: Any) -> int:
    """What the frozen weights of one block come to, each rounded up to 64 bytes."""
    frozen = (p for p in network.blocks[0].parameters() if not p.requires_grad)
    return sum(-(-p.nbytes // 64) * 64 for p in frozen)


def untouched(network: Any) -> dict[str, tuple[Any, ...]]:
    return {
        name: (id(p), p.device, p.dtype, p.shape, p.stride(), p.requires_grad, p.detach().cpu().clone())
        for name, p in network.named_parameters()
    }


def assert_untouched(network: Any, before: dict[str, tuple[Any, ...]]) -> None:
    after = untouched(network)
    assert after.keys() == before.keys()
    for name, (*facts, values) in before.items():
        assert list(after[name][:-1]) == facts, name
        assert torch.equal(after[name][-1], values), name
    assert not any(module._forward_pre_hooks for module in network.modules())
    plain = torch.ones(1, requires_grad=True) * 2
    assert torch.equal(plain.exp().grad_fn._saved_result, plain.exp().detach())  # nobody notes any more


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ahead", [False, True], ids=["one at a time", "the next one ahead"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, BLOCKS])
def test_loss_and_gradients_are_the_same_to_the_bit(
    network: Any, count: int, checkpointing: bool, ahead: bool, device: str
) -> None:
    network.to(device)
    if checkpointing:
        network.enable_gradient_checkpointing()
    loss, gradients = trained(network)
    before = untouched(network)
    with BlockSwap(network, network.blocks, count, torch.device(device)) as swap:
        swap._transport.ahead = ahead
        for _ in range(2):
            again, others = trained(network)
            assert torch.equal(again, loss)
            assert others.keys() == gradients.keys()
            for name, gradient in gradients.items():
                assert torch.equal(others[name], gradient), name
    assert len(gradients) == BLOCKS * 8 * 2
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())
    assert_untouched(network, before)


@pytest.mark.parametrize("count", [0, 2, BLOCKS])
def test_sampling_gives_the_same_and_goes_round(network: Any, count: int) -> None:
    with torch.no_grad():
        expected = predicted(network)
        with BlockSwap(network, network.blocks, count, CPU) as swap:
            swap._transport.ahead = True
            for _ in range(3):
                assert torch.equal(predicted(network), expected)
            moved = swap.moved_bytes
    # Two wait at the end for what comes next; the last pass has brought the first one again.
    rounds = 3 * count + 1 if count > 2 else count
    assert moved == rounds * block_bytes(network)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
def test_a_step_brings_each_block_twice_but_for_where_it_turns(network: Any, checkpointing: bool) -> None:
    if checkpointing:
        network.enable_gradient_checkpointing()
    for ahead, first, more in (
        (False, 2 * BLOCKS - 1, 2 * BLOCKS - 2),
        (True, 2 * BLOCKS - 2, 2 * BLOCKS - 4),
    ):
        with BlockSwap(network, network.blocks, BLOCKS, CPU) as swap:
            swap._transport.ahead = ahead
            trained(network)
            assert swap.moved_bytes == first * block_bytes(network)
            trained(network)
            assert swap.moved_bytes == (first + more) * block_bytes(network)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
def test_fewer_bytes_are_resident_the_more_blocks_rest(network: Any, checkpointing: bool) -> None:
    if checkpointing:
        network.enable_gradient_checkpointing()
    one, peaks = block_bytes(network), []
    for count in range(BLOCKS + 1):
        with BlockSwap(network, network.blocks, count, CPU) as swap:
            unswapped = swap.resident_bytes
            trained(network)
            assert swap.resident_bytes == unswapped + (one if count else 0)
            peaks.append(swap.peak_resident_bytes)
    assert peaks == [one * (BLOCKS - count + min(count, 1)) for count in range(BLOCKS + 1)]


def test_with_the_next_one_ahead_two_are_there(network: Any) -> None:
    with BlockSwap(network, network.blocks, BLOCKS, CPU) as swap:
        swap._transport.ahead = True
        trained(network)
        assert swap.peak_resident_bytes == 2 * block_bytes(network)


def test_a_weight_that_rests_is_not_a_number_and_the_adapter_is(network: Any) -> None:
    layer = network.blocks[0].attn1.to_q
    adapter = layer.lora_A["default"].weight
    shape, values = layer.base_layer.weight.shape, adapter.detach().clone()
    with BlockSwap(network, network.blocks, BLOCKS, CPU):
        assert layer.base_layer.weight.isnan().all()
        assert layer.base_layer.weight.shape == shape
        assert layer.base_layer.weight.untyped_storage().nbytes() == 4
        assert torch.equal(adapter, values)


def test_what_is_learnt_within_is_kept(network: Any) -> None:
    adapter = [p for p in network.parameters() if p.requires_grad]
    twin = build()
    for one, count in ((network, BLOCKS), (twin, 0)):
        optimizer = torch.optim.AdamW([p for p in one.parameters() if p.requires_grad], lr=1e-2)
        with BlockSwap(one, one.blocks, count, CPU):
            for _ in range(3):
                trained(one)
                optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(adapter, build().parameters(), strict=False))


class Halt(Exception):
    pass


@pytest.mark.parametrize("passes", ["forward", "backward"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
def test_an_error_midway_leaves_the_network_whole(network: Any, passes: str, checkpointing: bool) -> None:
    if checkpointing:
        network.enable_gradient_checkpointing()
    before = untouched(network)
    loss, gradients = trained(network)

    def halt(*_: object) -> None:
        raise Halt

    where = network.blocks[2].ffn
    add = where.register_forward_hook if passes == "forward" else where.register_full_backward_hook
    handle = add(halt)
    with pytest.raises(Halt), BlockSwap(network, network.blocks, BLOCKS, CPU):
        trained(network)
    handle.remove()
    network.zero_grad()
    assert_untouched(network, before)
    again, others = trained(network)
    assert torch.equal(again, loss)
    assert all(torch.equal(others[name], gradient) for name, gradient in gradients.items())


def test_an_error_while_it_begins_leaves_the_network_whole(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = untouched(network)
    make = MappedFiles.make

    def full(place: MappedFiles, block: int, size: int) -> torch.Tensor:
        if block == 2:
            raise OSError("No space left on device")
        return make(place, block, size)

    monkeypatch.setattr(MappedFiles, "make", full)
    with (
        pytest.raises(OSError, match="No space left"),
        BlockSwap(network, network.blocks, BLOCKS, CPU, tmp_path),
    ):
        raise AssertionError
    assert_untouched(network, before)
    assert list(tmp_path.iterdir()) == []


def test_closing_twice_is_legal_and_files_are_gone(network: Any, tmp_path: Path) -> None:
    before = untouched(network)
    with BlockSwap(network, network.blocks, 2, CPU, tmp_path) as swap:
        files = [file for folder in tmp_path.iterdir() for file in folder.iterdir()]
        assert [file.stat().st_size for file in files] == [block_bytes(network)] * 2
        swap.close()
        assert_untouched(network, before)
    swap.close()
    assert list(tmp_path.iterdir()) == []


def test_a_second_swap_of_the_same_blocks_is_refused(network: Any) -> None:
    before = untouched(network)
    with BlockSwap(network, network.blocks, 2, CPU):
        with (
            pytest.raises(RuntimeError, match="being swapped already"),
            BlockSwap(network, network.blocks, 1, CPU),
        ):
            raise AssertionError
        trained(network)
    network.zero_grad()
    assert_untouched(network, before)
    with BlockSwap(network, network.blocks, 1, CPU):
        pass


def test_a_backward_pass_after_the_end_is_refused(network: Any) -> None:
    with BlockSwap(network, network.blocks, 2, CPU):
        loss = predicted(network).mean()
    with pytest.raises(RuntimeError, match="within the block swap of its forward pass"):
        loss.backward()


@pytest.mark.parametrize("count", [-1, BLOCKS + 1])
def test_more_blocks_than_there_are_are_refused(network: Any, count: int) -> None:
    with pytest.raises(
        InvalidEdit, match=rf"blocks_to_swap is {count} and the model has 5 blocks; use 0 to 5"
    ):
        BlockSwap(network, network.blocks, count, CPU)


def test_blocks_that_share_weights_are_refused(network: Any) -> None:
    network.blocks[1].norm2 = torch.nn.Identity()
    network.blocks[1].ffn = network.blocks[0].ffn
    before = untouched(network)
    with pytest.raises(ValueError, match="share weights"), BlockSwap(network, network.blocks, BLOCKS, CPU):
        raise AssertionError
    assert_untouched(network, before)


def test_blocks_without_frozen_weights_stay(network: Any) -> None:
    network.blocks[1].requires_grad_(True)
    loss, _ = trained(network)
    with BlockSwap(network, network.blocks, BLOCKS, CPU) as swap:
        again, _ = trained(network)
        assert torch.equal(again, loss)
        assert swap.moved_bytes == (2 * (BLOCKS - 1) - 1) * block_bytes(build())


@pytest.mark.parametrize(
    ("count", "expected"), [(0, ()), (1, (5,)), (2, (2, 7)), (5, (1, 3, 5, 7, 9)), (10, tuple(range(10)))]
)
def test_blocks_that_rest_lie_evenly_spread(count: int, expected: tuple[int, ...]) -> None:
    assert spread(10, count) == expected


def odd_parameters() -> Iterator[torch.nn.Parameter]:
    """Of several number formats and layouts, one without elements."""
    generator = torch.Generator().manual_seed(7)
    for values in (
        torch.randn(3, 5, generator=generator).t(),
        torch.randn(7, generator=generator).to(torch.bfloat16),
        torch.randn(2, 3, 2, 2, 2, generator=generator).to(memory_format=torch.channels_last_3d),
        torch.zeros(0, 4),
        torch.arange(5, dtype=torch.int8),
        torch.tensor(2.5, dtype=torch.float64),
    ):
        yield torch.nn.Parameter(values, requires_grad=False)


@pytest.mark.parametrize("place", ["files", "memory"])
def test_weights_come_back_from_a_buffer_as_they_were(place: str, tmp_path: Path) -> None:
    parameters = list(odd_parameters())
    before = [parameter.detach().clone(memory_format=torch.preserve_format) for parameter in parameters]
    resting = MappedFiles(tmp_path) if place == "files" else HostMemory(CPU)
    weights = BlockWeights(parameters)
    weights.fill(resting.make(3, weights.bytes))
    weights.hide(CPU)
    assert all(p.isnan().all() for p in parameters if p.is_floating_point())
    weights.show(resting.take(3))
    assert_as_before(parameters, before)
    weights.give_back(resting.take(3))
    resting.close()
    assert_as_before(parameters, before)


def assert_as_before(parameters: list[torch.nn.Parameter], before: list[torch.Tensor]) -> None:
    for parameter, values in zip(parameters, before, strict=True):
        assert torch.equal(parameter, values)
        assert (parameter.stride(), parameter.dtype) == (values.stride(), values.dtype)
        assert parameter.data_ptr() % 64 == 0


MEASURE = """
import ctypes, sys
import torch
from mattebox_backend.backbones.block_swap import BlockSwap
from mattebox_backend.device import Device, peak_memory_mb, reset_peak_memory
from torch.utils.checkpoint import checkpoint

count, again = int(sys.argv[1]), sys.argv[2] == "True"
torch.set_num_threads(1)
device = Device("cpu", 0, "float32")
network = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(24))).requires_grad_(False)
states = torch.randn(4, 1024, requires_grad=True)
with BlockSwap(network, list(network), count, device.torch) as swap:
    ctypes.CDLL(None).malloc_trim(0)
    reset_peak_memory(device)
    passed = states
    for block in network:
        passed = checkpoint(block, passed, use_reentrant=False) if again else block(passed)
    passed.square().sum().backward()
    print(peak_memory_mb(device), swap.peak_resident_bytes / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process' own peak from /proc")
@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
def test_the_memory_of_the_process_falls_by_what_is_counted(again: bool) -> None:
    def measured(count: int) -> tuple[float, float]:
        # Small pieces of memory would go back to a pool instead of to the system.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        output = subprocess.run(
            [sys.executable, "-c", MEASURE, str(count), str(again)],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        memory, counted = map(float, output.split())
        return memory, counted

    (most, all_counted), (least, few_counted) = measured(0), measured(24)
    assert all_counted == pytest.approx(24 * 4.0, rel=0.01)
    assert few_counted == pytest.approx(4.0, rel=0.01)
    assert most - least == pytest.approx(all_counted - few_counted, rel=0.15)
