"""A stretch of training that can be broken off at any step and goes on from its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mattebox_backend.pocket.checkpoint import read_checkpoint, write_checkpoint
from mattebox_backend.pocket.progress import RunLog

REPORT_EVERY = 50


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Steps under one set of optimizers, whose learning rate falls linearly to 0 after a warmup.

    file: the checkpoint; fingerprint: the configuration that it belongs to. modules: what is trained, by
    name. ema: the decay of the exponential average of the weights, which is what comes out.
    """

    file: Path
    fingerprint: str
    modules: Mapping[str, nn.Module]
    optimizers: Sequence[torch.optim.Optimizer]
    steps: int
    learning_rate: float
    warmup: int
    ema: float
    checkpoint_every: int

    def run(
        self,
        loss: Callable[[int], Mapping[str, Tensor]],
        log: RunLog,
        before: int,
        on_checkpoint: Callable[[int, dict[str, Tensor]], None],
    ) -> dict[str, Tensor]:
        """The averaged weights, ``module.parameter`` by name, after training from the checkpoint, or from
        where the modules stand.

        ``loss`` gets the number of the step, counted with the ``before`` steps of earlier stretches, and
        gives the terms of the loss, scalars by the names they are reported under; their sum is trained on.
        ``on_checkpoint`` gets that number, and the averaged weights, each time a checkpoint has been written.
        """
        parameters = [p for module in self.modules.values() for p in module.parameters()]
        average = _state(self.modules)
        start = read_checkpoint(self.file, self.fingerprint, self.modules, self.optimizers, average)
        seen: list[dict[str, float]] = []
        for step in range(start, self.steps):
            rate = self.learning_rate * _rate(step, self.warmup, self.steps)
            for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
                group["lr"] = rate
            terms = loss(before + step)
            torch.autograd.backward(torch.stack(list(terms.values())).sum())
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            _update(average, self.modules, min(self.ema, (1 + step) / (10 + step)))
            seen.append({name: term.item() for name, term in terms.items()})
            if (step + 1) % REPORT_EVERY == 0 or step == start:
                means = {name: float(np.mean([one[name] for one in seen])) for name in terms}
                log.report(before + step + 1, **means)
                seen.clear()
            if (step + 1) % self.checkpoint_every == 0 or step + 1 == self.steps:
                write_checkpoint(
                    self.file, step + 1, self.fingerprint, self.modules, self.optimizers, average
                )
                on_checkpoint(before + step + 1, average)
        return average


def put_average(average: Mapping[str, Tensor], name: str, module: nn.Module) -> None:
    """Give a module the averaged weights of the one that was trained under ``name``, for evaluation."""
    own = {
        key.removeprefix(f"{name}."): value for key, value in average.items() if key.startswith(f"{name}.")
    }
    module.load_state_dict(own, strict=False)
    module.eval().requires_grad_(False)


def _rate(step: int, warmup: int, steps: int) -> float:
    return min(1.0, (step + 1) / max(1, warmup)) * max(0.0, 1 - step / steps)


def _state(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": p.detach().clone()
        for name, module in modules.items()
        for key, p in module.named_parameters()
    }


@torch.no_grad()
def _update(average: dict[str, Tensor], modules: Mapping[str, nn.Module], decay: float) -> None:
    current = {f"{name}.{key}": p for name, module in modules.items() for key, p in module.named_parameters()}
    names = list(average)
    torch._foreach_lerp_([average[n] for n in names], [current[n] for n in names], 1 - decay)
