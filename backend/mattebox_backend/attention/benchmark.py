"""`mattebox bench attention`: layout-guided self attention, the formula as it stands against our kernel.

Each form runs in a process of its own, so that its peak memory is its own. The naive form takes one head at a
time; with all heads at once, as the formula has it, it would need that many times more memory.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from mattebox_backend.attention.kernels import attend
from mattebox_backend.attention.terms import RowExtremes
from mattebox_backend.device import Device, free_memory_mb, peak_memory_mb, reset_peak_memory
from mattebox_backend.errors import OutOfMemory

_NAIVE_MATRICES = 6
"""Matrices of N×N float32 that the naive form holds at its peak, rounded up."""
_CPU = Device("cpu", 0, "float32")


@dataclass(frozen=True, slots=True)
class Problem:
    """Full-frame self attention with a layout of three regions, float32 on the CPU."""

    frames: int = 16
    side: int = 32
    heads: int = 8
    depth: int = 40

    @property
    def tokens(self) -> int:
        """N: the tokens of all frames."""
        return self.frames * self.side**2


@dataclass(frozen=True, slots=True)
class Measurement:
    """seconds: of one call. peak_mb: memory taken beyond that of the inputs, in MiB."""

    seconds: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both forms on one problem. largest_difference: between their outputs."""

    problem: Problem
    naive: Measurement
    ours: Measurement
    largest_difference: float

    @property
    def time_ratio(self) -> float:
        """Our time as a share of the naive form's."""
        return self.ours.seconds / self.naive.seconds

    @property
    def memory_ratio(self) -> float | None:
        """Our peak memory as a share of the naive form's; None where that is too little to be seen."""
        return self.ours.peak_mb / self.naive.peak_mb if self.naive.peak_mb else None

    def to_json(self) -> dict[str, object]:
        """The figures and both ratios."""
        return {**asdict(self), "time_ratio": self.time_ratio, "memory_ratio": self.memory_ratio}


def compare(problem: Problem | None = None) -> Comparison:
    """Measure both forms, one after the other.

    Raises `OutOfMemory` when this machine does not hold the naive form of the problem.
    """
    problem = problem or Problem()
    needed = _NAIVE_MATRICES * problem.tokens**2 * 4 / (1 << 20)
    if needed > free_memory_mb(_CPU):
        raise OutOfMemory(
            f"The naive form needs about {needed:.0f} MiB for {problem.tokens} tokens and "
            f"{free_memory_mb(_CPU):.0f} MiB are free; choose fewer frames."
        )
    with tempfile.TemporaryDirectory() as folder:
        outputs = {name: Path(folder) / f"{name}.npy" for name in _FORMS}
        figures = {name: _measure_apart(problem, name, output) for name, output in outputs.items()}
        naive, ours = (np.load(outputs[name], mmap_mode="r") for name in ("naive", "ours"))
        difference = max(float(np.abs(a - b).max()) for a, b in zip(naive, ours, strict=True))
    return Comparison(problem, figures["naive"], figures["ours"], difference)


def inputs(problem: Problem) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, RowExtremes]:
    """Queries, keys and values (1, heads, N, d), and a layout: two regions that drift over a background."""
    generator = torch.Generator().manual_seed(1)
    shape = (3, 1, problem.heads, problem.tokens, problem.depth)
    query, key, value = torch.randn(shape, generator=generator)
    owners = torch.zeros(problem.frames, problem.side, problem.side, dtype=torch.long)
    third = max(1, problem.side // 3)
    for frame in range(problem.frames):
        left = frame % third
        owners[frame, third : 2 * third, left : left + third] = 1
        owners[frame, third : 2 * third, -third - left : problem.side - left] = 2
    flat = owners.flatten()
    share = torch.bincount(flat, minlength=3) / len(flat)
    relation = 2 * torch.eye(3, dtype=torch.int8) - 1
    return query, key, value, RowExtremes(flat, flat, relation, 0.3 * (1 - share)[flat])


def ours(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, term: RowExtremes) -> torch.Tensor:
    """Our kernel, on all heads."""
    return attend(query, key, value, [term])


def naive(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, term: RowExtremes) -> torch.Tensor:
    """The formula as it stands (ST-Modulator, eqs. 1, 4, 5), head by head, on whole N×N matrices."""
    output = torch.empty_like(value)
    related = term.query_classes[:, None] == term.key_classes[None, :]
    strength = term.strength[:, None]
    for head in range(query.shape[1]):
        logits = query[0, head] @ key[0, head].T / math.sqrt(query.shape[-1])
        positive = logits.amax(-1, keepdim=True) - logits
        negative = logits - logits.amin(-1, keepdim=True)
        logits = logits + strength * torch.where(related, positive, -negative)
        del positive, negative
        output[0, head] = logits.softmax(-1) @ value[0, head]
    return output


_FORMS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor, RowExtremes], torch.Tensor]] = {
    "naive": naive,
    "ours": ours,
}


def _measure_apart(problem: Problem, form: str, output: Path) -> Measurement:
    command = [sys.executable, "-m", __name__, form, json.dumps(asdict(problem)), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise OutOfMemory(f"The {form} form did not finish ({last[0]}); choose fewer frames.")
    return Measurement(**json.loads(done.stdout))


@torch.no_grad()
def _measure_here(problem: Problem, form: str, output: Path) -> Measurement:
    query, key, value, term = inputs(problem)
    few = slice(None), slice(1), slice(16)
    _FORMS[form](query[few], key[few], value[few], _first_tokens(term, 16))
    reset_peak_memory(_CPU)
    before = peak_memory_mb(_CPU)
    began = time.perf_counter()
    result = _FORMS[form](query, key, value, term)
    measured = Measurement(time.perf_counter() - began, peak_memory_mb(_CPU) - before)
    np.save(output, result[0].numpy())
    return measured


def _first_tokens(term: RowExtremes, count: int) -> RowExtremes:
    """A term for the first few tokens only: enough to warm the libraries up."""
    head = slice(count)
    return RowExtremes(term.query_classes[head], term.key_classes[head], term.relation, term.strength[head])


def _main() -> None:
    arguments = argparse.ArgumentParser(description="One form of attention, measured; see compare().")
    arguments.add_argument("form", choices=sorted(_FORMS))
    arguments.add_argument("problem", type=json.loads)
    arguments.add_argument("output", type=Path)
    given = arguments.parse_args()
    measured = _measure_here(Problem(**given.problem), given.form, given.output)
    sys.stdout.write(json.dumps(asdict(measured)))


if __name__ == "__main__":
    _main()
