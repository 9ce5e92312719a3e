"""Where the weights of transformer blocks rest while they are not on the device."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

_ALIGNMENT = 64
"""Bytes: every weight begins at a multiple, as in memory of torch's own, so that the same kernels take it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Weight:
    """A parameter, and where it stands in its block's buffer: from byte `start`, `span` elements long."""

    parameter: torch.nn.Parameter
    start: int
    span: int
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]

    def within(self, buffer: torch.Tensor) -> torch.Tensor:
        """What the buffer holds of it, without a copy."""
        end = self.start + self.span * self.dtype.itemsize
        return buffer[self.start : end].view(self.dtype).as_strided(self.size, self.stride)


class BlockWeights:
    """The weights of one block, as parameters and as one buffer: (n,) uint8, moved as a whole."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self._weights: list[_Weight] = []
        self._found: list[torch.device] = []
        self.bytes = 0
        for parameter in parameters:
            size, stride = parameter.shape, parameter.stride()
            span = 1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
            span = span if parameter.numel() else 0
            self._weights.append(_Weight(parameter, self.bytes, span, parameter.dtype, size, stride))
            self._found.append(parameter.device)
            whole = -(-span * parameter.dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
            self.bytes += whole

    def fill(self, buffer: torch.Tensor) -> None:
        """Copy the parameters into a buffer."""
        for weight in self._weights:
            weight.within(buffer).copy_(weight.parameter.data)

    def show(self, buffer: torch.Tensor) -> None:
        """Let the parameters be what a buffer holds; they keep it alive."""
        for weight in self._weights:
            weight.parameter.data = weight.within(buffer)

    def hide(self, device: torch.device) -> None:
        """Let the parameters be of no memory: of the same shape, and not a number, so that whatever reads
        them now is found out.
        """
        for weight in self._weights:
            nothing = float("nan") if weight.dtype.is_floating_point else 0
            weight.parameter.data = torch.full((), nothing, dtype=weight.dtype, device=device).expand(
                weight.size
            )

    def give_back(self, buffer: torch.Tensor) -> None:
        """Let the parameters be a copy of what a buffer holds, each on the device where it was found."""
        for weight, device in zip(self._weights, self._found, strict=True):
            held = weight.within(buffer)
            own = torch.empty_strided(weight.size, weight.stride, dtype=weight.dtype, device=device)
            weight.parameter.data = own.copy_(held)


class RestingPlace(Protocol):
    """Holds a buffer per block."""

    def make(self, block: int, size: int) -> torch.Tensor:
        """A buffer (size,) uint8 to be filled at once; what is written to it is what `take` gives."""
        ...

    def take(self, block: int) -> torch.Tensor:
        """A block's buffer, on the CPU, to be read alone. It is gone when nobody holds it any more."""
        ...

    def close(self) -> None:
        """Forget everything."""
        ...


class HostMemory:
    """The machine's memory; where the device is a CUDA one, pages that it copies from while it computes."""

    def __init__(self, device: torch.device) -> None:
        self._pinned = device.type == "cuda"
        self._buffers: dict[int, torch.Tensor] = {}

    def make(self, block: int, size: int) -> torch.Tensor:
        """See `RestingPlace.make`."""
        self._buffers[block] = torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)
        return self._buffers[block]

    def take(self, block: int) -> torch.Tensor:
        """See `RestingPlace.take`."""
        return self._buffers[block]

    def close(self) -> None:
        """See `RestingPlace.close`."""
        self._buffers.clear()


class MappedFiles:
    """A file per block in a folder of its own under `folder` (None: where the system keeps such), mapped into
    memory while it is held: what is not held takes none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._within = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: dict[int, tuple[str, int]] = {}

    def make(self, block: int, size: int) -> torch.Tensor:
        """See `RestingPlace.make`."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="blocks-", dir=self._within)
        file = Path(self._folder.name) / f"{block}.weights"
        self._files[block] = (str(file), size)
        return torch.from_file(str(file), shared=True, size=size, dtype=torch.uint8)

    def take(self, block: int) -> torch.Tensor:
        """See `RestingPlace.take`."""
        file, size = self._files[block]
        return torch.from_file(file, shared=False, size=size, dtype=torch.uint8)

    def close(self) -> None:
        """See `RestingPlace.close`."""
        if self._folder is not None:
            self._folder.cleanup()


@dataclass(slots=True, eq=False)
class Arrival:
    """A block's buffer on its way to the device. event: recorded when it is there; None: it is there."""

    buffer: torch.Tensor
    event: torch.cuda.Event | None

    def ready(self) -> torch.Tensor:
        """The buffer; what the device is told from now on waits until it is there."""
        if self.event is not None:
            torch.cuda.current_stream(self.buffer.device).wait_event(self.event)
            self.event = None
        return self.buffer


class Transport:
    """Brings buffers to a device: on CUDA on a stream of its own, so that one comes while another runs.

    ahead: bringing one before it is needed saves time.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = (
            torch.cuda.Stream(device=device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        )
        self.ahead = self._stream is not None

    def send(self, buffer: torch.Tensor) -> Arrival:
        """A buffer (n,) uint8 on the CPU, sent; where the device is the CPU, it is there already."""
        if self._stream is None:
            return Arrival(buffer.to(self._device), None)
        arriving = torch.empty_like(buffer, device=self._device)
        # Its memory may be what a block held that still computes on the other stream.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            arriving.copy_(buffer, non_blocking=True)
        return Arrival(arriving, self._stream.record_event())
