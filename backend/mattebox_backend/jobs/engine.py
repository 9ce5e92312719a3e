"""What turns an edit into frames: the seam between the queue and the renderer.

The queue knows nothing of torch: importing it takes seconds, and a backend has to answer before that.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from mattebox_media.clip import ClipInfo, Frame
from numpy.typing import NDArray

from mattebox_backend.captions import CaptionRequest, Tell, describe
from mattebox_backend.edit import Edit
from mattebox_backend.segment import Proposal, ProposalRequest, propose_regions

if TYPE_CHECKING:
    from mattebox_backend.device import Device
    from mattebox_backend.models.registry import ModelRegistry
    from mattebox_backend.render import Stage
    from mattebox_backend.render.forecast import Forecast

Write = Callable[[Iterable[Frame]], None]
"""Stores the composited frames, one by one as they come."""


class Monitor(Protocol):
    """`mattebox_backend.render.RenderMonitor`, said without importing the renderer."""

    def progress(
        self, stage: Stage, step: int, of: int, preview: NDArray[np.uint8] | None = None
    ) -> None: ...

    def figure(self, name: str, step: int, of: int, value: float) -> None: ...

    def log(self, message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class DeviceState:
    """name: "cpu", "cuda:0", "mps". title: in words. memory, free: bytes."""

    name: str
    title: str
    dtype: str
    memory: int
    free: int


class Engine(Protocol):
    """One device and what renders on it. `render`, `propose`, `describe` and `release` are called by one
    thread at a time.
    """

    def prepare(self) -> None:
        """Does what takes long and every job needs; raises DeviceError when the device is not there."""

    def device(self) -> DeviceState: ...

    def validate(self, edit: Edit, info: ClipInfo) -> None:
        """Raises InvalidEdit for what can be known without weights."""

    def forecast(self, edit: Edit, info: ClipInfo, card_memory: int) -> Forecast:
        """What an edit would take of memory; see `render.forecast`. Any thread may ask."""

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
        """Renders, and returns the report as JSON values."""

    def propose(
        self, request: ProposalRequest, progress: Callable[[Stage, int, int], None]
    ) -> Sequence[Proposal]:
        """Candidates for regions; see `segment.propose_regions`."""

    def describe(self, request: CaptionRequest, tell: Tell) -> str:
        """Words for a picture; see `captions.describe`."""

    def release(self) -> None:
        """Gives back the memory of what ran on the device and ended, however it ended."""


class RenderEngine:
    """The real one: `mattebox_backend.render` on a device chosen by itself or by the user."""

    def __init__(self, models: ModelRegistry, *, device: str = "auto", threads: int = 0) -> None:
        self._models = models
        self._wanted = device
        self._threads = threads
        self._device: Device | None = None
        self._choosing = threading.Lock()

    def prepare(self) -> None:
        self._chosen()
        import mattebox_backend.render  # noqa: F401 - takes seconds

    def device(self) -> DeviceState:
        from mattebox_backend.device import free_memory_mb

        device = self._chosen()
        return DeviceState(
            name=device.name,
            title=_title(device),
            dtype=device.precision,
            memory=_memory(device),
            free=int(free_memory_mb(device)) << 20,
        )

    def validate(self, edit: Edit, info: ClipInfo) -> None:
        from mattebox_backend.render import validate

        validate(edit, info)

    def forecast(self, edit: Edit, info: ClipInfo, card_memory: int) -> Forecast:
        from mattebox_backend.render.forecast import forecast

        return forecast(edit, info, models=self._models, device=self._chosen(), card_memory=card_memory)

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
        from mattebox_backend.render import RenderPaths, render

        report = render(
            edit,
            models=self._models,
            device=self._chosen(),
            paths=RenderPaths(inversions=inversions, checkpoint=checkpoint, adapters=adapters),
            monitor=monitor,
            write=write,
        )
        return report.to_json()

    def propose(
        self, request: ProposalRequest, progress: Callable[[Stage, int, int], None]
    ) -> Sequence[Proposal]:
        return propose_regions(request, models=self._models, device=self._chosen(), progress=progress)

    def describe(self, request: CaptionRequest, tell: Tell) -> str:
        return describe(request, models=self._models, device=self._chosen(), tell=tell)

    def release(self) -> None:
        gc.collect()
        device = self._device
        if device is None:
            return
        import torch

        if device.kind == "cuda":
            torch.cuda.empty_cache()
        elif device.kind == "mps":
            torch.mps.empty_cache()

    def _chosen(self) -> Device:
        from mattebox_backend.device import choose_device

        with self._choosing:
            if self._device is None:
                if self._threads:
                    import torch

                    torch.set_num_threads(self._threads)
                self._device = choose_device(self._wanted)
            return self._device


def _title(device: Device) -> str:
    import platform

    if device.kind == "cuda":
        import torch

        return torch.cuda.get_device_name(device.index)
    if device.kind == "mps":
        return f"Apple {platform.machine()} GPU"
    return _processor() or f"{platform.processor() or platform.machine()} processor"


def _processor() -> str:
    """The processor's name as Linux knows it, else ""."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else ""


def _memory(device: Device) -> int:
    if device.kind == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device.index).total_memory)
    import psutil

    return int(psutil.virtual_memory().total)
