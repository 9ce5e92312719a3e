"""The stages of one render, wired together."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mattebox_media import open_clip
from mattebox_media.clip import ClipInfo
from numpy.typing import NDArray

from mattebox_backend.backbones.protocol import Backbone
from mattebox_backend.backbones.video_protocol import VideoBackbone
from mattebox_backend.controls.composite import Frame, composite
from mattebox_backend.device import Device, MemoryGauge
from mattebox_backend.edit import Edit, MaskMode
from mattebox_backend.masks import RegionStack, loosened, smooth_matte, stack_regions
from mattebox_backend.methods import find_method
from mattebox_backend.methods.recipes import RECIPES, VIDEO_RECIPES
from mattebox_backend.render.job import RenderJob
from mattebox_backend.render.report import BackgroundTally, Report
from mattebox_backend.render.stages import BackboneSource, RenderMonitor, RenderPaths, Stage, StageClock
from mattebox_backend.render.validation import validate
from mattebox_backend.render.video_job import VideoJob
from mattebox_backend.render.view import View, focus


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
        gauge = MemoryGauge(self.device)
        with (
            open_clip(self.edit.clip) as reader,
            torch.no_grad(),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False),
        ):
            validate(self.edit, reader.info)
            self._begin(Stage.LOAD)
            method = find_method(self.edit.method)
            load = self.models.load_video if method.on_video_models else self.models.load
            with self.clock.running(Stage.LOAD):
                backbone: Any = load(self.edit.backbone, self.device)
            self.monitor.progress(Stage.LOAD, 1, 1)
            params = method.parse(self.edit.params, backbone.defaults.get(self.edit.method))
            self._begin(Stage.MASKS)
            with self.clock.running(Stage.MASKS):
                regions = regions_of(
                    self.edit,
                    params,
                    lambda done, of: self.monitor.progress(Stage.MASKS, done, of),
                )
            self.monitor.progress(Stage.MASKS, 1, 1)
            view = view_of(backbone, reader.info, regions, params)
            if not view.everything:
                self.monitor.log(
                    f"Working on {view.size.width}×{view.size.height} of {view.whole.width}×"
                    f"{view.whole.height} pixels, around the regions."
                )
            around = (self.device, self.paths, self.monitor, self.clock, reader)
            job: RenderJob | VideoJob
            if method.on_video_models:
                job = VideoJob(self.edit, *around, backbone, regions, params, view, gauge)
                frames = VIDEO_RECIPES[self.edit.method](job, params)
            else:
                job = RenderJob(
                    self.edit, self.models, *around, backbone, view.regions(regions), params, view
                )
                frames = (frame for frame in backbone.decode(RECIPES[self.edit.method](job, params)))
            tally = self._finish(job, frames, regions, write)
        return self._report(job, params, regions, tally, gauge.peak())

    def _begin(self, stage: Stage) -> None:
        self.monitor.progress(stage, 0, 1)

    def _finish(
        self,
        job: RenderJob | VideoJob,
        decoded: Generator[NDArray[np.float32]],
        regions: RegionStack,
        write: Callable[[Iterator[Frame]], None],
    ) -> BackgroundTally:
        """Decode, composite over the whole picture's regions and measure, frame by frame, while `write` takes
        the frames.
        """
        tally = BackgroundTally()
        inner = sum(self.clock.seconds.values())
        began = time.perf_counter()
        with contextlib.closing(decoded):  # what a recipe changed in a model is undone now, not some day
            write(self._frames(job, decoded, regions, tally))
        inner = sum(self.clock.seconds.values()) - inner
        self.clock.add("write", time.perf_counter() - began - inner)
        return tally

    def _frames(
        self,
        job: RenderJob | VideoJob,
        decoded: Generator[NDArray[np.float32]],
        regions: RegionStack,
        tally: BackgroundTally,
    ) -> Iterator[Frame]:
        sources = job.reader.frames(self.edit.start, self.edit.stop)
        for index in range(self.edit.frame_count):
            began = sum(self.clock.seconds.values()), time.perf_counter()
            edited = next(decoded)  # whatever else that took has been counted where it was done
            within = sum(self.clock.seconds.values()) - began[0]
            self.clock.add(Stage.DECODE_LATENTS, time.perf_counter() - began[1] - within)
            with self.clock.running(Stage.DECODE):
                source = next(sources)
            with self.clock.running(Stage.COMPOSITE):
                matte = smooth_matte(
                    regions.union(index), regions.matte(index), job.params.boundary_smoothing
                )
                shown = matte if job.params.preserve else job.view.matte(*source.shape[:2])
                result = composite(source, job.view.put(edited, source), shown)
            with self.clock.running(Stage.MEASURE):
                tally.add(source, result, matte)
            self.monitor.progress(Stage.COMPOSITE, index + 1, self.edit.frame_count)
            yield result

    def _report(
        self,
        job: RenderJob | VideoJob,
        params: Any,
        regions: RegionStack,
        tally: BackgroundTally,
        peak_memory: float,
    ) -> Report:
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
            peak_memory_mb=peak_memory,
            inversion_cached=job.inversion_cached,
            device=self.device.name,
            dtype=self.device.precision,
            params=dataclasses.asdict(params),
            warnings=_warnings(regions),
            curves=job.curves,
            adapters=job.adapters,
        )


def regions_of(
    edit: Edit, params: Any, progress: Callable[[int, int], None] = lambda done, of: None
) -> RegionStack:
    """The regions over the whole picture, in the shape that the method gives them."""
    regions = stack_regions(
        [dataclasses.replace(region, feather=max(region.feather, params.feather)) for region in edit.regions],
        progress,
    )
    if find_method(edit.method).on_video_models:
        return loosened(regions, params.mask_shape, params.mask_growth)
    return regions


def view_of(backbone: Backbone | VideoBackbone, info: ClipInfo, regions: RegionStack, params: Any) -> View:
    """The part of the picture that is worked on: all of it unless the parameters ask for a focus."""
    whole = backbone.working_size(info.width, info.height, params.size)
    if not params.focus:
        return View(whole, whole)
    # The smallest square that a backbone works at is one step of its sizes.
    return focus(regions, whole, backbone.working_size(1, 1, 1), params.focus_margin)


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
