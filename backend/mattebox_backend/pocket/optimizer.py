"""Muon, the optimizer for the matrices of a network (Jordan et al., 2024; Liu et al., 2025).

`torch.optim.Muon` takes no convolutions, which hold most of a UNet, and one matrix at a time, which on a CPU
costs more than the step itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_MOMENTUM = 0.95
DECAY = 0.01
"""Of weights, per step and learning rate."""


class Muon(torch.optim.Optimizer):
    """Steps of a matrix go along its momentum made orthogonal, so that every direction in it learns at one
    pace; a convolution counts as the matrix (out, in · height · width). Vectors need another optimizer.

    Its steps are scaled to AdamW's usual size (0.2 root mean square; Liu et al., eq. 4), so that one learning
    rate serves both.
    """

    def __init__(self, matrices: Sequence[nn.Parameter], lr: float, weight_decay: float = DECAY) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take a step along the gradients that are there; with a closure, which computes them, its loss is
        returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            learnt = [p for p in group["params"] if p.grad is not None]
            alike: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for parameter in learnt:
                rows, columns = sorted(parameter.flatten(1).shape)
                alike[rows, columns].append(parameter)
            for parameters in alike.values():
                self._move(parameters, group["lr"], group["weight_decay"])
        return loss

    def _move(self, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        """Step parameters whose matrices have one shape, or its transpose, together."""
        wide = [_wide(self._direction(parameter)) for parameter in parameters]
        steps = orthogonalised(torch.stack(wide)) * (0.2 * wide[0].shape[1] ** 0.5)
        for parameter, step in zip(parameters, steps, strict=True):
            matrix = parameter.flatten(1)
            step = step if step.shape == matrix.shape else step.T
            parameter.mul_(1 - lr * weight_decay).sub_(step.reshape(parameter.shape), alpha=lr)

    def _direction(self, parameter: nn.Parameter) -> Tensor:
        """Nesterov's momentum of the gradients, as a matrix."""
        gradient, state = torch.as_tensor(parameter.grad), self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        return gradient.lerp(momentum, _MOMENTUM).flatten(1)


def build_optimizers(
    kind: Literal["adamw", "muon"],
    matrices: Sequence[nn.Parameter],
    others: Sequence[nn.Parameter],
    rate: float,
    weight_decay: float = DECAY,
) -> list[torch.optim.Optimizer]:
    """AdamW for all, or Muon for the matrices inside a network and AdamW for its ends and its vectors."""
    if kind == "muon":
        return [Muon(matrices, rate, weight_decay), _adamw(others, rate, weight_decay)]
    return [_adamw([*matrices, *others], rate, weight_decay)]


def _adamw(parameters: Sequence[nn.Parameter], rate: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices to ``matrices`` (N, rows ≤ columns), float32: their singular values
    become 0.7 to 1.2, by five Newton–Schulz steps in bfloat16 (Jordan et al., 2024).
    """
    a, b, c = _QUINTIC
    x: Tensor = matrices.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.float()


def _wide(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose where it has more rows than columns."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
