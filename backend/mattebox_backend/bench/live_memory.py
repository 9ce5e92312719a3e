"""How many bytes of tensors live at once while something is computed, counted on any device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within the `with` block, every tensor that an operation makes is counted until nothing holds it; what
    is made before, and what kernels take for themselves, is not.

    now, peak: bytes. It sees through `torch.autograd` and checkpointing, and works on tensors without content
    (`FakeTensorMode`, which has to be entered before): so the memory of a model that no machine here holds
    can be counted.
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        """known: tensors that are not counted although operations give them out: weights."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._seen: Any = WeakIdKeyDictionary()
        for tensor in known:
            self._seen[tensor.untyped_storage()] = None

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        positional: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        made = function(*positional, **(named or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen[storage] = None
        self._add(storage.nbytes())
        weakref.finalize(storage, self._add, -storage.nbytes())

    def _add(self, change: int) -> None:
        self.now += change
        self.peak = max(self.peak, self.now)
