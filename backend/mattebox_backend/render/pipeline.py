"""The stages of one render, wired together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from mattebox_media import ClipReader, open_clip
from numpy.typing import NDArray

from mattebox_backend.backbones.protocol import Backbone, WorkingSize
from mattebox_backend.controls.composite import Frame, composite
from mattebox_backend.device import Device, peak_memory_mb, reset_peak_memory
from mattebox_backend.diffusion.checkpoint import StateFile
from mattebox_backend.diffusion.control import Control, Run, Step
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.inversion import invert
from mattebox_backend.diffusion.sampler import sample
from mattebox_backend.diffusion.trajectory import Trajectory, TrajectoryKey, TrajectoryStore
from mattebox_backend.edit import Edit, MaskMode
from mattebox_backend.masks import RegionStack, stack_regions
from mattebox_backend.methods import find_method
from mattebox_backend.methods.recipes import RECIPES
from mattebox_backend.render.report import BackgroundTally, Report
from mattebox_backend.render.stages import BackboneSource, RenderMonitor, RenderPaths, Stage, StageClock
from mattebox_backend.render.validation import validate

_FRAMES_AT_ONCE = 8
_PREVIEWS = 5
_PREVIEW_SIDE = 256


@dataclass(slots=True)
class Pipeline:
    """One render of one edit; see `mattebox_backend.render.render`."""

    edit: Edit
    models: BackboneSource
    device: Device
    paths: RenderPaths
    monitor: RenderMonitor
    clock: StageClock = field(default_factory=StageClock)

    def run(self, write: Callable[[Iterator[Frame]], None]) -> Report:
        """Render, and hand the frames to `write`."""
        reset_peak_memory(self.device)
        with (
            open_clip(self.edit.clip) as reader,
            torch.no_grad(),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False),
        ):
            validate(self.edit, reader.info)
            self._begin(Stage.LOAD)
            with self.clock.running(Stage.LOAD):
                backbone = self.models.load(self.edit.backbone, self.device)
            self.monitor.progress(Stage.LOAD, 1, 1)
            method = find_method(self.edit.method)
            params = method.parse(self.edit.params, backbone.defaults.get(self.edit.method))
            self._begin(Stage.MASKS)
            with self.clock.running(Stage.MASKS):
                regions = stack_regions(
                    [
                        dataclasses.replace(region, feather=max(region.feather, params.feather))
                        for region in self.edit.regions
                    ],
                    lambda done, of: self.monitor.progress(Stage.MASKS, done, of),
                )
            self.monitor.progress(Stage.MASKS, 1, 1)
            job = RenderJob(self, reader, backbone, regions, params)
            latents = RECIPES[self.edit.method](job, params)
            tally = self._finish(job, latents, write)
        return self._report(job, params, tally)

    def _begin(self, stage: Stage) -> None:
        self.monitor.progress(stage, 0, 1)

    def _finish(
        self, job: RenderJob, latents: torch.Tensor, write: Callable[[Iterator[Frame]], None]
    ) -> BackgroundTally:
        """Decode, composite and measure, frame by frame, while `write` takes the frames."""
        tally = BackgroundTally()
        inner = sum(self.clock.seconds.values())
        began = time.perf_counter()
        write(self._frames(job, latents, tally))
        inner = sum(self.clock.seconds.values()) - inner
        self.clock.add("write", time.perf_counter() - began - inner)
        return tally

    def _frames(self, job: RenderJob, latents: torch.Tensor, tally: BackgroundTally) -> Iterator[Frame]:
        decoded = job.backbone.decode(latents)
        sources = job.reader.frames(self.edit.start, self.edit.stop)
        for index in range(self.edit.frame_count):
            with self.clock.running(Stage.DECODE_LATENTS):
                edited = next(decoded)
            with self.clock.running(Stage.DECODE):
                source = next(sources)
            with self.clock.running(Stage.COMPOSITE):
                matte = job.regions.matte(index)
                result = composite(source, edited, matte if job.params.preserve else None)
            with self.clock.running(Stage.MEASURE):
                tally.add(source, result, matte)
            self.monitor.progress(Stage.COMPOSITE, index + 1, self.edit.frame_count)
            yield result

    def _report(self, job: RenderJob, params: Any, tally: BackgroundTally) -> Report:
        info = job.reader.info
        return Report(
            method=self.edit.method,
            backbone=self.edit.backbone,
            seed=self.edit.seed,
            frames=self.edit.frame_count,
            width=info.width,
            height=info.height,
            background_exact_share=tally.exact_share,
            background_psnr=tally.psnr,
            seconds=self.clock.seconds,
            peak_memory_mb=peak_memory_mb(self.device),
            inversion_cached=job.inversion_cached,
            device=self.device.name,
            dtype=self.device.precision,
            params=dataclasses.asdict(params),
            warnings=_warnings(job.regions),
        )


@dataclass(slots=True)
class RenderJob:
    """What a method's recipe works with (`methods.materials.Materials`), on real files and a real model."""

    pipeline: Pipeline
    reader: ClipReader
    backbone: Backbone
    regions: RegionStack
    params: Any
    inversion_cached: bool = False

    @property
    def prompt(self) -> str:
        """The edit's global prompt."""
        return self.pipeline.edit.prompt

    @property
    def source_prompt(self) -> str:
        """The edit's source prompt."""
        return self.pipeline.edit.source_prompt

    @property
    def size(self) -> WorkingSize:
        """The size that the backbone works at."""
        return self.backbone.working_size(self.reader.info.width, self.reader.info.height, self.params.size)

    def invert(self, denoiser: Denoiser, prompt: str, *, steps: int) -> Trajectory:
        """See `Materials.invert`."""
        edit, clock, monitor = self.pipeline.edit, self.pipeline.clock, self.pipeline.monitor
        backbone, windows = denoiser.backbone, denoiser.windows
        grid = backbone.schedule.grid(steps)
        key = TrajectoryKey(
            clip_hash=edit.clip_hash or self.reader.content_hash(),
            start=edit.start,
            stop=edit.stop,
            width=self.size.width,
            height=self.size.height,
            backbone=backbone.identity,
            prompt=prompt,
            timesteps=grid.timesteps,
            full_frame=denoiser.full_frame,
            windows=(windows.size, windows.stride) if windows is not None else None,
            device=self.pipeline.device.kind,
            precision=self.pipeline.device.precision,
        )
        store = TrajectoryStore(self.pipeline.paths.inversions)
        found = store.find(key)
        if found is not None:
            self.inversion_cached = True
            monitor.log("The inversion of this clip is taken from the cache.")
            monitor.progress(Stage.INVERT, steps, steps)
            return found
        inner = sum(clock.seconds.values())
        began = time.perf_counter()
        trajectory = invert(
            denoiser,
            grid,
            key,
            self._encode,
            store,
            self.pipeline.paths.checkpoint,
            lambda step, of: monitor.progress(Stage.INVERT, step, of),
        )
        inner = sum(clock.seconds.values()) - inner
        clock.add(Stage.INVERT, time.perf_counter() - began - inner)
        return trajectory

    def sample(
        self, denoiser: Denoiser, text: torch.Tensor, start: Trajectory, controls: Sequence[Control]
    ) -> torch.Tensor:
        """See `Materials.sample`."""
        grid = denoiser.backbone.schedule.grid(len(start.latents) - 1)
        generator = torch.Generator().manual_seed(self.pipeline.edit.seed % 2**63)
        run = Run(denoiser, grid, self.regions, start, generator)
        file = self.pipeline.paths.checkpoint / "sample.npz"
        checkpoint = StateFile(file, self._sampling_key(), grid.steps)
        self.pipeline.monitor.progress(Stage.SAMPLE, 0, grid.steps)
        with self.pipeline.clock.running(Stage.SAMPLE):
            return sample(run, text, controls, checkpoint, self._watch)

    def _sampling_key(self) -> str:
        """All that decides the course of sampling: a state of any other run must not be taken up."""
        content = {
            "edit": self.pipeline.edit.content_hash(),
            "backbone": self.backbone.identity,
            "params": dataclasses.asdict(self.params),
            "device": self.pipeline.device.name,
            "precision": self.pipeline.device.precision,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _encode(self) -> torch.Tensor:
        edit, clock, monitor = self.pipeline.edit, self.pipeline.clock, self.pipeline.monitor
        latents: list[torch.Tensor] = []
        frames = self.reader.frames(edit.start, edit.stop)
        for start in range(0, edit.frame_count, _FRAMES_AT_ONCE):
            monitor.progress(Stage.ENCODE, start, edit.frame_count)
            count = min(_FRAMES_AT_ONCE, edit.frame_count - start)
            with clock.running(Stage.DECODE):
                chunk = np.stack([_to_working_size(next(frames), self.size) for _ in range(count)])
            with clock.running(Stage.ENCODE):
                latents.append(self.backbone.encode(chunk))
        monitor.progress(Stage.ENCODE, edit.frame_count, edit.frame_count)
        monitor.progress(Stage.INVERT, 0, 1)
        return torch.cat(latents)

    def _watch(self, step: Step, clean: torch.Tensor) -> None:
        preview = None
        done = step.index + 1
        if done < step.of and done % max(1, step.of // (_PREVIEWS + 1)) == 0:
            preview = self._preview(clean)
        self.pipeline.monitor.progress(Stage.SAMPLE, done, step.of, preview)

    def _preview(self, clean: torch.Tensor) -> NDArray[np.uint8]:
        """The middle frame as it would come out now, small."""
        middle = len(clean) // 2
        frame = next(iter(self.backbone.decode(clean[middle : middle + 1])))
        scale = min(1.0, _PREVIEW_SIDE / max(frame.shape[:2]))
        if scale < 1:
            size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
            frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.float32)
        return np.rint(frame * 255).astype(np.uint8)


def _to_working_size(frame: Frame, size: WorkingSize) -> NDArray[np.uint8]:
    """A source frame as the backbone takes it: (H, W, 3) uint8 at working size."""
    pixels: NDArray[Any] = frame[..., :3]
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels.astype(np.float32) / 257).astype(np.uint8)
    if pixels.shape[:2] == (size.height, size.width):
        return np.asarray(pixels, np.uint8)
    shrinks = pixels.shape[0] >= size.height and pixels.shape[1] >= size.width
    filter_ = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    contiguous = np.ascontiguousarray(pixels)
    return np.asarray(cv2.resize(contiguous, (size.width, size.height), interpolation=filter_), np.uint8)


def _warnings(regions: RegionStack) -> list[str]:
    notes = []
    for region, visible in zip(regions.regions, regions.visible, strict=True):
        if not visible.any():
            notes.append(f"The region {region.name!r} lies wholly under others and had no effect.")
        if region.dilation and region.mode is MaskMode.TIGHT:
            notes.append(
                f"The region {region.name!r} was not dilated: its mask mode is tight; choose another mode."
            )
    return notes
