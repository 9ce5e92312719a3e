"""The stages of a render, and what it needs around it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mattebox_backend.backbones.controlnet import ControlNet
    from mattebox_backend.backbones.protocol import Backbone
    from mattebox_backend.backbones.video_protocol import VideoBackbone
    from mattebox_backend.device import Device


class Stage(StrEnum):
    """What a render is doing, in the order of the line."""

    DECODE = "decode"
    MASKS = "masks"
    LOAD = "load"
    ENCODE = "encode"
    TUNE = "tune"
    INVERT = "invert"
    SAMPLE = "sample"
    DECODE_LATENTS = "decode_latents"
    COMPOSITE = "composite"
    MEASURE = "measure"


class RenderMonitor(Protocol):
    """Whoever watches a render."""

    def progress(self, stage: Stage, step: int, of: int, preview: NDArray[np.uint8] | None = None) -> None:
        """`step` of `of` steps of a stage are done. preview: (h, w, 3) RGB of one frame, now and then while
        sampling. Raises `Cancelled` to stop the render."""
        ...

    def figure(self, name: str, step: int, of: int, value: float) -> None:
        """A point of the curve `name` ("motion loss"): its value at a step, from 1 to `of`; streamed to
        whoever watches. What a picked-up render tells again replaces what it told before.

        Raises ValueError for a value that is not finite: tell the last finite one, and the reason in the
        log. The whole curve belongs into `Report.curves`.
        """
        ...

    def log(self, message: str) -> None:
        """A sentence for the job's log."""
        ...


class BackboneSource(Protocol):
    """Where loaded models come from."""

    def load(self, backbone_id: str, device: Device) -> Backbone:
        """The image or text-to-video model of an id on a device, loaded now or kept warm. Raises
        `ModelRefused` for an image-to-video model.
        """
        ...

    def load_video(self, backbone_id: str, device: Device) -> VideoBackbone:
        """The image-to-video model of an id on a device, loaded now or kept warm. Raises `ModelRefused`
        for another.
        """
        ...

    def outline_video(self, backbone_id: str, device: Device) -> VideoBackbone:
        """The outline of an image-to-video model, from its configuration files alone."""
        ...

    def load_controlnet(self, name: str, device: Device) -> ControlNet:
        """The ControlNet of a name on a device, loaded now or kept warm."""
        ...


@dataclass(frozen=True, slots=True)
class RenderPaths:
    """inversions: the cache of trajectories, shared by all jobs. checkpoint: this job's own folder, which
    outlives a killed process. adapters: the store of what was trained, shared by all jobs.
    """

    inversions: Path
    checkpoint: Path
    adapters: Path


@dataclass(slots=True)
class StageClock:
    """Seconds spent per stage; stages that alternate frame by frame add up."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def running(self, stage: Stage) -> Iterator[None]:
        """Count the time within the block towards a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage.value, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
