"""Devices and their memory."""

from __future__ import annotations

import mmap

import pytest
import torch
from mattebox_backend.device import (
    MemoryGauge,
    choose_device,
    free_memory_mb,
    peak_memory_mb,
    reset_peak_memory,
    total_memory_mb,
)
from mattebox_backend.errors import DeviceError


def test_the_processor_computes_in_single_precision() -> None:
    device = choose_device("cpu")
    assert (device.name, device.precision, device.dtype) == ("cpu", "float32", torch.float32)


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="this machine has a GPU"
)
def test_without_a_gpu_auto_is_the_processor_and_asking_for_one_is_refused() -> None:
    assert choose_device().kind == "cpu"
    with pytest.raises(DeviceError, match=r"'cuda:0' is not here: this machine has no CUDA device"):
        choose_device("cuda:0")
    with pytest.raises(DeviceError, match="Apple"):
        choose_device("mps")


@pytest.mark.parametrize("spec", ["tpu", "cpu:1", "cuda:x", ""])
def test_an_unknown_device_is_named(spec: str) -> None:
    with pytest.raises(DeviceError, match="is unknown; use auto"):
        choose_device(spec)


def test_peak_memory_is_that_since_the_last_reset() -> None:
    device = choose_device("cpu")
    reset_peak_memory(device)
    before = peak_memory_mb(device)
    with mmap.mmap(-1, 64 << 20) as block:  # the allocator might have that much in hand
        block.write(b"\1" * (64 << 20))
        assert 50 < peak_memory_mb(device) - before < 200
    assert total_memory_mb(device) > free_memory_mb(device) > 100


def test_a_gauge_keeps_the_peak_of_all_its_time_while_a_stretch_has_its_own() -> None:
    gauge = MemoryGauge(choose_device("cpu"))
    before = gauge.peak()
    with mmap.mmap(-1, 96 << 20) as block:
        block.write(b"\1" * (96 << 20))
    took = gauge.stretch()
    with mmap.mmap(-1, 32 << 20) as block:
        block.write(b"\1" * (32 << 20))
    began, peak = took()
    assert 50 < peak - began < 100, "the block, and what is written to it"
    assert 150 < gauge.peak() - before < 300
