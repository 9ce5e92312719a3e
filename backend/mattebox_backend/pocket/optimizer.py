"""Muon for the matrices of a network, AdamW for all else (Jordan et al., 2024; Liu et al., 2025).

`torch.optim.Muon` takes no convolutions, which hold most of a UNet, and one matrix at a time, which on a CPU
costs more than the step itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_MOMENTUM = 0.95
_BETAS = (0.9, 0.99)
_DECAY = 0.01


class Muon(torch.optim.Optimizer):
    """Steps of a matrix go along its momentum made orthogonal, so that every direction in it learns at one
    pace; a convolution counts as the matrix (out, in · height · width).

    Its steps are scaled to AdamW's usual size (0.2 root mean square), so that one learning rate serves both.
    """

    def __init__(self, matrices: Sequence[nn.Parameter], others: Sequence[nn.Parameter], lr: float) -> None:
        groups = [
            {"params": list(matrices), "orthogonal": True},
            {"params": list(others), "orthogonal": False},
        ]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take a step along the gradients that are there."""
        if closure is not None:
            raise TypeError("Muon takes no closure; compute the gradients first.")
        for group in self.param_groups:
            pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if pairs:
                parameters, gradients = (list(column) for column in zip(*pairs, strict=True))
                torch._foreach_mul_(parameters, 1 - group["lr"] * _DECAY)
                move = self._orthogonal if group["orthogonal"] else self._adam
                move(parameters, gradients, group["lr"])

    def _orthogonal(self, parameters: list[Tensor], gradients: list[Tensor], lr: float) -> None:
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
            matrix = gradient.lerp(momentum, _MOMENTUM).flatten(1)
            rows, columns = sorted(matrix.shape)
            alike[rows, columns].append((parameter, matrix))
        for (rows, columns), pairs in alike.items():
            wide = [matrix if len(matrix) == rows else matrix.T for _, matrix in pairs]
            turned = orthogonalised(torch.stack(wide)) * (0.2 * columns**0.5)
            for (parameter, matrix), step in zip(pairs, turned, strict=True):
                step = step if len(matrix) == rows else step.T
                parameter.sub_(step.reshape(parameter.shape), alpha=lr)

    def _adam(self, parameters: list[Tensor], gradients: list[Tensor], lr: float) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.zeros(()),
                    "first": torch.zeros_like(parameter),
                    "second": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in parameters]
        firsts, seconds = [s["first"] for s in states], [s["second"] for s in states]
        torch._foreach_add_([s["step"] for s in states], 1)
        torch._foreach_lerp_(firsts, gradients, 1 - _BETAS[0])
        torch._foreach_lerp_(seconds, torch._foreach_mul(gradients, gradients), 1 - _BETAS[1])
        count = float(states[0]["step"])
        spread = torch._foreach_sqrt(seconds)
        torch._foreach_div_(spread, (1 - _BETAS[1] ** count) ** 0.5)
        torch._foreach_add_(spread, 1e-8)
        torch._foreach_addcdiv_(parameters, firsts, spread, -lr / (1 - _BETAS[0] ** count))


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices to ``matrices`` (N, rows ≤ columns), float32: their singular values
    become 0.7 to 1.2, by five Newton–Schulz steps in bfloat16.
    """
    a, b, c = _QUINTIC
    x: Tensor = matrices.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.float()
