"""A real backend, as a process, whose renderer is small enough to watch: it inverts colours inside the masks.

Like the real one it decodes, works in steps with a checkpoint each, previews, and hands out frames lazily.
Its captions are real.
`params`: steps, delay (seconds a step), preview, figures (of each step, told before its checkpoint), fail,
spoil (frames handed out too few).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from mattebox_backend.captions import CaptionRequest, Tell, describe
from mattebox_backend.edit import Edit
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.jobs.engine import DeviceState, Monitor, Write
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.server.addresses import Certificate, Listen
from mattebox_backend.server.backend import Options
from mattebox_backend.server.serving import serve
from mattebox_backend.settings import Settings
from mattebox_media.clip import ClipInfo
from mattebox_media.reader import open_clip
from numpy.typing import NDArray

CURVE = "length of the walk"


def walk_lengths(seed: int, steps: int) -> list[list[float]]:
    """The curve of a walk from its first step on, as a report keeps it."""
    walks = np.cumsum([np.random.default_rng([seed, step]).normal(size=3) for step in range(steps)], axis=0)
    return [[step, float(length)] for step, length in enumerate(np.abs(walks).sum(axis=1), 1)]


class Stage(StrEnum):
    DECODE = "decode"
    SAMPLE = "sample"
    COMPOSITE = "composite"


class InvertingEngine:
    def __init__(self, models: ModelRegistry, settings: Settings) -> None:
        self.models = models
        self.released = 0

    def prepare(self) -> None:
        pass

    def device(self) -> DeviceState:
        return DeviceState("cpu", "a test's CPU", "uint8", 1 << 30, 1 << 29)

    def validate(self, edit: Edit, info: ClipInfo) -> None:
        if edit.method != "st-modulator":
            raise InvalidEdit(f"The method {edit.method} is not in this version yet; use st-modulator.")

    def describe(self, request: CaptionRequest, tell: Tell) -> str:
        from mattebox_backend.device import Device

        return describe(request, models=self.models, device=Device("cpu", 0, "float32"), tell=tell)

    def release(self) -> None:
        self.released += 1

    def render(
        self,
        edit: Edit,
        *,
        inversions: Path,
        adapters: Path,
        checkpoint: Path,
        monitor: Monitor,
        write: Write,
    ) -> Mapping[str, Any]:
        steps = int(edit.params.get("steps", 8))
        with open_clip(edit.clip) as reader:
            source = list(reader.frames(edit.start, edit.stop))
        monitor.progress(Stage.DECODE, len(source), len(source))  # type: ignore[arg-type]
        walk, done = self._resume(edit, checkpoint)
        if done:
            monitor.log(f"goes on after step {done}")
        (inversions / edit.clip_hash).write_bytes(b"an inversion")
        for step in range(done, steps):
            walk = walk + np.random.default_rng([edit.seed, step]).normal(size=3)
            if edit.params.get("figures"):
                monitor.figure(CURVE, step + 1, steps, float(np.abs(walk).sum()))
            time.sleep(float(edit.params.get("delay", 0)))
            if edit.params.get("fail") == step:
                raise RuntimeError("the sampler tripped\nover two lines")
            if edit.params.get("die") == step:
                os._exit(9)
            part = checkpoint / "walk.part"
            with part.open("wb") as file:
                np.save(file, np.append(walk, step + 1))
            part.replace(checkpoint / "walk.npy")
            preview = source[0] if edit.params.get("preview") else None
            monitor.progress(Stage.SAMPLE, step + 1, steps, preview)  # type: ignore[arg-type]
        write(self._frames(edit, source, walk, monitor))
        curves = {CURVE: walk_lengths(edit.seed, steps)} if edit.params.get("figures") else {}
        return {
            "method": edit.method,
            "backbone": edit.backbone,
            "seed": edit.seed,
            "frames": len(source),
            "curves": curves,
        }

    @staticmethod
    def _resume(edit: Edit, checkpoint: Path) -> tuple[NDArray[np.float64], int]:
        saved = checkpoint / "walk.npy"
        if not saved.exists():
            return np.zeros(3), 0
        numbers = np.load(saved)
        return numbers[:3], int(numbers[3])

    @staticmethod
    def _frames(
        edit: Edit, source: list[NDArray[np.uint8]], walk: NDArray[np.float64], monitor: Monitor
    ) -> Iterator[NDArray[np.uint8]]:
        tint = np.frombuffer(walk.tobytes(), dtype=np.uint8)[::8]
        for index, frame in enumerate(source[: len(source) - int(edit.params.get("spoil", 0))]):
            inside = np.any([region.masks[index] > 0 for region in edit.regions], axis=0)
            yield np.where(inside[..., None], 255 - frame ^ tint, frame)
            monitor.progress(Stage.COMPOSITE, index + 1, len(source))  # type: ignore[arg-type]


class InterruptedEngine(InvertingEngine):
    """A signal comes while the backend is still starting."""

    def __init__(self, models: ModelRegistry, settings: Settings) -> None:
        super().__init__(models, settings)
        signal.raise_signal(signal.SIGTERM)


def main(
    listen: str = "",
    idle_exit: str = "0",
    file_limit: str = "0",
    cert: str = "",
    key: str = "",
    interrupted: str = "",
) -> None:
    if int(file_limit):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_limit), int(file_limit)))
    options = Options(
        listen=Listen.parse(listen) if listen else None,
        certificate=Certificate.read(Path(cert), Path(key)) if cert else None,
    )
    serve(options, idle_exit=float(idle_exit), engine=InterruptedEngine if interrupted else InvertingEngine)


if __name__ == "__main__":
    main(*sys.argv[1:])
