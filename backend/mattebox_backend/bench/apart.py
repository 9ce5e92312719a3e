"""Measurements in a process of their own, so that its peak memory is theirs alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from mattebox_backend.bench.errors import BenchError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PRECISE: Final = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""For glibc: freed tensors go back to the system at once, so that a peak is what was in use and not what lay
idle in a heap.
"""


def measured_apart(
    module: str, given: DataclassInstance, what: str, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What a module that ends in `answer` says of `given`. what: is measured, for the sentence that says that
    it did not finish. environment: variables beside those of this process.

    Raises `BenchError` where it did not finish.
    """
    command = [sys.executable, "-m", module, json.dumps(asdict(given))]
    surroundings = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise BenchError(f"{what} did not finish ({last[0]}).")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def answer(measure: Callable[[dict[str, Any]], DataclassInstance]) -> None:
    """In that process: measure what the one argument says, and print it in a line of its own."""
    (given,) = sys.argv[1:]
    sys.stdout.write("\n" + json.dumps(asdict(measure(json.loads(given)))))
