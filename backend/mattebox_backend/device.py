"""Where a render runs: the device, its number format, and its memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from mattebox_backend.errors import DeviceError

if TYPE_CHECKING:
    import torch as _torch

DeviceKind = Literal["cuda", "mps", "cpu"]
Precision = Literal["float32", "bfloat16", "float16"]

_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Device:
    """A compute device and the floating-point format that a backbone runs in there.

    `kind` is `cuda`, `mps` or `cpu`; `index` numbers the device among its kind; `precision` is the format of
    weights and activations (the sampler's own latents are always float32).
    """

    kind: DeviceKind
    index: int
    precision: Precision

    @property
    def name(self) -> str:
        """`cuda:0`, `mps` or `cpu`: what a report and a log call it."""
        return f"{self.kind}:{self.index}" if self.kind == "cuda" else self.kind

    @property
    def torch(self) -> _torch.device:
        """The device as torch names it."""
        import torch

        return torch.device(self.name)

    @property
    def dtype(self) -> _torch.dtype:
        """The format of weights and activations as torch names it."""
        import torch

        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[
            self.precision
        ]


def choose_device(spec: str = "auto", *, precision: Precision | None = None) -> Device:
    """Pick the device that `spec` asks for, and the number format that suits it.

    spec: `auto` (CUDA, else Apple's GPU, else the CPU), `cpu`, `mps`, `cuda` or `cuda:N`.
    precision: overrides the choice: bfloat16 on CUDA devices that compute in it, float16 on older ones and on
        Apple's, float32 on the CPU.

    Raises `DeviceError` for a device that is unknown or not in this machine.
    """
    import torch

    wanted = spec.strip().lower()
    if wanted == "auto":
        wanted = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    kind, _, number = wanted.partition(":")
    if kind not in ("cuda", "mps", "cpu") or (number and (kind != "cuda" or not number.isdecimal())):
        raise DeviceError(f"The device {spec!r} is unknown; use auto, cpu, mps, cuda or cuda:N.")
    if kind == "cpu":
        return Device("cpu", 0, precision or "float32")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError(
                "The device 'mps' needs an Apple GPU and this machine has none; use auto or cpu."
            )
        return Device("mps", 0, precision or "float16")
    index = int(number or 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        held = "no CUDA device" if count == 0 else f"CUDA devices 0 to {count - 1}"
        raise DeviceError(f"The device {spec!r} is not here: this machine has {held}; use auto or cpu.")
    native = torch.cuda.get_device_capability(index) >= (8, 0)
    return Device("cuda", index, precision or ("bfloat16" if native else "float16"))


def reset_peak_memory(device: Device) -> None:
    """Start a new measurement for `peak_memory_mb`."""
    if device.kind == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device.torch)
        return
    if sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, proc(5)
        except OSError:
            return  # a kernel that forbids it: the peak is then that of the whole process


def peak_memory_mb(device: Device) -> float:
    """The highest use in MiB since `reset_peak_memory`: of the GPU on CUDA, else of this process' own
    memory.
    """
    if device.kind == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device.torch) / _MEBIBYTE
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MEBIBYTE if sys.platform == "darwin" else peak / 1024


class MemoryGauge:
    """The most memory in use on a device since the gauge was made, in MiB, as `peak_memory_mb` has it. The
    system keeps one mark for the whole process, so that one gauge is read at a time.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._before = 0.0
        reset_peak_memory(device)

    def peak(self) -> float:
        """Of all the time so far."""
        return max(self._before, peak_memory_mb(self._device))

    def stretch(self) -> Callable[[], tuple[float, float]]:
        """Begins a stretch; gives a function that says what was in use then, and the most since then."""
        self._before = self.peak()
        reset_peak_memory(self._device)
        began = peak_memory_mb(self._device)
        return lambda: (began, peak_memory_mb(self._device))


def free_memory_mb(device: Device) -> float:
    """Memory in MiB that a render could still take on `device`."""
    if device.kind == "cuda":
        import torch

        return torch.cuda.mem_get_info(device.torch)[0] / _MEBIBYTE
    return float(psutil.virtual_memory().available) / _MEBIBYTE


@cache
def total_memory_mb(device: Device) -> float:
    """The memory in MiB that `device` has, whoever uses it."""
    if device.kind == "cuda":
        import torch

        return float(torch.cuda.get_device_properties(device.torch).total_memory) / _MEBIBYTE
    return float(psutil.virtual_memory().total) / _MEBIBYTE
