"""Block swap: frozen transformer blocks rest off the device and come to it when they run (diffusion-pipe;
mask-aware LoRA, appendix C.2).

diffusers' own `apply_group_offloading` was looked at: it moves the adapter's trainable parameters along with
the frozen ones, knows either all blocks or none, and does not bring them back for the backward pass.

Three things make the memory truly fall. A block's frozen weights lie in one buffer, which is let go as soon
as another block is asked for. Autograd keeps references to weights, since the gradient of a linear layer's
input is made of them: `saved_tensors_hooks` around everything keep a note in their place (which block, which
view of it), and the backward pass brings the block back for it. And where a block is computed again (gradient
checkpointing), torch's own hooks lie within ours and win: they keep nothing of the forward pass, and the
block is asked for again when it runs again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from mattebox_backend.backbones.resting import (
    Arrival,
    BlockWeights,
    HostMemory,
    MappedFiles,
    RestingPlace,
    Transport,
)
from mattebox_backend.errors import InvalidEdit


@dataclass(frozen=True, slots=True, eq=False)
class _Note:
    """What autograd keeps instead of a view of a weight that rests. offset: in elements of its dtype."""

    index: int
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class BlockSwap:
    """Within the `with` block, the network is on a device but for some of its blocks, which rest elsewhere
    and come when they run, forward and backward; afterwards everything is where and what it was.

    On CUDA they rest in pinned memory, and while one runs, the next one in the direction of the pass comes on
    a stream of its own: at most two are there. On other devices it is one. Where the device is the CPU, they
    rest in files that are mapped into memory while they run.

    What swaps is what has `requires_grad=False` when it begins: an adapter's parameters, and buffers, stay.
    Forward and backward pass both have to run within. Nobody else may set `saved_tensors_hooks` around the
    network meanwhile, but for gradient checkpointing; nor read its frozen weights, which are not a number
    while they rest; nor change what modules it has.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        blocks: Sequence[torch.nn.Module],
        blocks_to_swap: int,
        device: torch.device,
        folder: Path | None = None,
    ) -> None:
        """blocks: of the network, in the order in which they run. blocks_to_swap: how many of them rest, 0 to
        all; those that do lie evenly spread. folder: blocks rest in files under it, whatever the device is.

        Raises `InvalidEdit` for more blocks than there are.
        """
        check_blocks_to_swap(blocks_to_swap, len(blocks))
        self.resident_bytes = 0
        """Of the blocks' frozen weights, those that are on the device now."""
        self.peak_resident_bytes = 0
        self.moved_bytes = 0
        """What was brought to the device so far."""
        self._network, self._blocks, self._device = network, blocks, device
        self._swapped = spread(len(blocks), blocks_to_swap)
        in_files = folder is not None or device.type == "cpu"
        self._place: RestingPlace = MappedFiles(folder) if in_files else HostMemory(device)
        self._closed = False
        self._transport = Transport(device)
        self._weights: list[BlockWeights] = []
        self._held: dict[int, Arrival] = {}
        self._addresses: dict[int, int] = {}
        self._running: int | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Raises `RuntimeError` for blocks that are being swapped already."""
        if any(isinstance(hook, _Bring) for block in self._blocks for hook in _hooks(block)):
            raise RuntimeError("These blocks are being swapped already; one swap has to end first.")
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the network as it was found. Called again, it does nothing."""
        self._stack.close()

    def bring(self, index: int, *, turns: bool) -> torch.Tensor:
        """The buffer of a swapped block, on the device.

        turns: the pass goes back from the last block rather than on to the first.
        """
        if index != self._running:
            ahead = self._next(index, turns=turns) if self._transport.ahead else None
            for other in [one for one in self._held if one not in (index, ahead)]:
                self._let_go(other)
            for one in (index, ahead):
                if one is not None and one not in self._held:
                    self._fetch(one)
            self._weights[index].show(self._held[index].ready())
            self._running = index
        return self._held[index].buffer

    def _open(self) -> None:
        chosen = [block for block in (self._blocks[index] for index in self._swapped) if _frozen(block)]
        resting = [id(parameter) for block in chosen for parameter in _frozen(block)]
        if len(set(resting)) < len(resting):
            raise ValueError("Blocks that share weights cannot be swapped.")
        self._stack.callback(self._end)
        for index, block in enumerate(chosen):
            weights = BlockWeights(_frozen(block))
            weights.fill(self._place.make(index, weights.bytes))
            self._weights.append(weights)
            self._stack.callback(self._give_back, index)
            weights.hide(self._device)
            self._stack.callback(block.register_forward_pre_hook(_Bring(self, index)).remove)
        self._move_others(set(resting))
        self._count(
            sum(
                parameter.nbytes
                for block in self._blocks
                for parameter in _frozen(block)
                if id(parameter) not in resting
            )
        )
        hooks = torch.autograd.graph.saved_tensors_hooks(self._note, self._recall)
        self._stack.enter_context(hooks)

    def _end(self) -> None:
        self._place.close()
        self._closed = True
        self.resident_bytes = 0

    def _move_others(self, resting: set[int]) -> None:
        """What does not rest is on the device: a network that is too large for it was left where it was
        loaded.
        """
        for tensor in (*self._network.parameters(), *self._network.buffers()):
            if id(tensor) not in resting and tensor.device != self._device:
                self._stack.callback(_move, tensor, tensor.device)
                _move(tensor, self._device)

    def _next(self, index: int, *, turns: bool) -> int | None:
        """The swapped block that will be asked for after this one."""
        last = len(self._weights) - 1
        if last == 0:
            return None
        if index == 0:
            return 1
        if index == last:
            return index - 1 if turns else 0
        return index - 1 if self._running is not None and self._running > index else index + 1

    def _fetch(self, index: int) -> None:
        arrival = self._transport.send(self._place.take(index))
        self._held[index] = arrival
        self._addresses[arrival.buffer.untyped_storage().data_ptr()] = index
        self._count(self._weights[index].bytes)
        self.moved_bytes += self._weights[index].bytes

    def _let_go(self, index: int) -> None:
        buffer = self._held.pop(index).ready()
        del self._addresses[buffer.untyped_storage().data_ptr()]
        self._weights[index].hide(self._device)
        self._count(-self._weights[index].bytes)

    def _give_back(self, index: int) -> None:
        self._weights[index].give_back(self._place.take(index))
        if index in self._held:
            self._held.pop(index).ready()

    def _count(self, change: int) -> None:
        self.resident_bytes += change
        self.peak_resident_bytes = max(self.peak_resident_bytes, self.resident_bytes)

    def _note(self, tensor: torch.Tensor) -> torch.Tensor | _Note:
        index = self._addresses.get(tensor.untyped_storage().data_ptr())
        if index is None:
            return tensor.detach()  # a result that its own maker keeps would keep itself alive
        return _Note(index, tensor.dtype, tensor.size(), tensor.stride(), int(tensor.storage_offset()))

    def _recall(self, kept: torch.Tensor | _Note) -> torch.Tensor:
        if isinstance(kept, torch.Tensor):
            return kept
        if self._closed:
            raise RuntimeError("The backward pass has to run within the block swap of its forward pass.")
        buffer = self.bring(kept.index, turns=True)
        return buffer.view(kept.dtype).as_strided(kept.size, kept.stride, kept.offset)


@dataclass(frozen=True, slots=True, eq=False)
class _Bring:
    """Before a swapped block runs: it comes."""

    swap: BlockSwap
    index: int

    def __call__(self, block: torch.nn.Module, inputs: object) -> None:
        self.swap.bring(self.index, turns=torch.is_grad_enabled())


def check_blocks_to_swap(count: int, blocks: int) -> None:
    """Raise `InvalidEdit` where there are not as many blocks."""
    if not 0 <= count <= blocks:
        raise InvalidEdit(f"blocks_to_swap is {count} and the model has {blocks} blocks; use 0 to {blocks}.")


def spread(blocks: int, count: int) -> tuple[int, ...]:
    """`count` of so many blocks, evenly spread: while those between run, the next one has time to come."""
    return tuple((2 * index + 1) * blocks // (2 * count) for index in range(count))


def _frozen(block: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [parameter for parameter in block.parameters() if not parameter.requires_grad]


def _hooks(block: torch.nn.Module) -> list[object]:
    return list(block._forward_pre_hooks.values())


def _move(tensor: torch.Tensor, device: torch.device) -> None:
    tensor.data = tensor.data.to(device)
    if tensor.grad is not None:
        tensor.grad.data = tensor.grad.data.to(device)
