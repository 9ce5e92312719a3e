"""The latest preview of each running job. Pictures are for looking at now: none is kept on the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """sequence: of the progress event that it belongs to. image: (H, W, 3) uint8 RGB."""

    sequence: int
    image: NDArray[np.uint8]


class Previews:
    """From any thread. `on_change` is called after each."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._latest: dict[str, Preview] = {}
        self._lock = threading.Lock()
        self._on_change = on_change

    def show(self, job: str, sequence: int, image: NDArray[np.uint8]) -> None:
        with self._lock:
            self._latest[job] = Preview(sequence, image.copy())
        self._on_change()

    def latest(self, job: str) -> Preview | None:
        with self._lock:
            return self._latest.get(job)

    def forget(self, job: str) -> None:
        with self._lock:
            self._latest.pop(job, None)
