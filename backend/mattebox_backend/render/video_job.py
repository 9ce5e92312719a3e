"""One render on an image-to-video model as its method's recipe sees it: learning and generating, with the
adapters' store, checkpoints and progress around them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from mattebox_media import ClipReader
from numpy.typing import NDArray

from mattebox_backend.backbones.video_protocol import VideoBackbone, padded_length
from mattebox_backend.device import Device, MemoryGauge
from mattebox_backend.diffusion.checkpoint import StateFile
from mattebox_backend.diffusion.control import Control, Run, Step
from mattebox_backend.diffusion.flow import FlowGrid, NoiseLine
from mattebox_backend.diffusion.sampler import sample
from mattebox_backend.diffusion.video_denoiser import ELSEWHERE, ConditionedVideo
from mattebox_backend.edit import Edit
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.lora.adapter import AdapterPlan, adapted, adapter_weights
from mattebox_backend.lora.planner import Plan
from mattebox_backend.lora.samples import Footage
from mattebox_backend.lora.store import AdapterStore, KeptAdapter, adapter_id
from mattebox_backend.lora.training import (
    Lesson,
    TrainingCheckpoint,
    TrainingDiverged,
    TrainingPlan,
    train_adapter,
)
from mattebox_backend.masks import RegionStack, merge_frames
from mattebox_backend.render.memory import MemoryPlanner, placed, what_it_took
from mattebox_backend.render.stages import RenderMonitor, RenderPaths, Stage, StageClock
from mattebox_backend.render.view import View

_PREVIEWS = 2
_PREVIEW_SIDE = 256


@dataclass(eq=False)  # no slots: what is worked out once is kept in the instance
class VideoJob:
    """What a method's recipe works with (`methods.video_materials.VideoMaterials`), on real files and a real
    model.

    regions: over the whole picture, in the shape that the method gives them.
    """

    edit: Edit
    device: Device
    paths: RenderPaths
    monitor: RenderMonitor
    clock: StageClock
    reader: ClipReader
    backbone: VideoBackbone
    regions: RegionStack
    params: Any
    view: View
    gauge: MemoryGauge
    inversion_cached: bool = False

    def __post_init__(self) -> None:
        self.adapters: list[str] = []
        self._sampling_plans: dict[tuple[AdapterPlan, int], Plan] = {}
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self._generator = torch.Generator().manual_seed(self.edit.seed % 2**63)

    @property
    def prompt(self) -> str:
        """See `VideoMaterials.prompt`."""
        return self.edit.prompt

    @property
    def source_prompt(self) -> str:
        """See `VideoMaterials.source_prompt`."""
        return self.edit.source_prompt

    @property
    def frame_count(self) -> int:
        """See `VideoMaterials.frame_count`."""
        return self.edit.frame_count

    @cached_property
    def footage(self) -> Footage:
        """See `VideoMaterials.footage`."""
        count = self.edit.frame_count
        length = padded_length(count, self.backbone.frame_stride)
        if length != count:
            self.monitor.log(
                f"{self.backbone.name} takes {self.backbone.frame_stride}k + 1 frames: the last of the "
                f"{count} is repeated to make {length}, and what is made of the repetition is left out."
            )
        with self.clock.running(Stage.DECODE):
            source = self.reader.frames(self.edit.start, self.edit.stop)
            frames = [self.view.take(frame) for frame in source]
        edited = [self._covered(index, self._taught) for index in range(count)]
        frames += frames[-1:] * (length - count)
        edited += edited[-1:] * (length - count)
        return Footage(np.stack(frames), np.stack(edited))

    @cached_property
    def pictures(self) -> Mapping[int, NDArray[np.uint8]]:
        """See `VideoMaterials.pictures`."""
        found: dict[int, NDArray[np.uint8]] = {}
        names = [region.name for region in self.regions.regions]
        for reference in sorted(self.edit.references, key=lambda one: names.index(one.region)):
            index = reference.frame - self.edit.start
            shown = self._covered(index, [names.index(reference.region)])[..., None]
            under = found.get(index, self.footage.frames[index])
            found[index] = np.where(shown, self.view.take(reference.image), under)
        return found

    @cached_property
    def training_window(self) -> int:
        """See `VideoMaterials.training_window`."""
        return self._planner.training_window()

    @contextmanager
    def placed_for_sampling(self, adapter: AdapterPlan, frames: int) -> Iterator[None]:
        """See `VideoMaterials.placed_for_sampling`."""
        memory = self._sampling_plans.get((adapter, frames))
        if memory is None:  # else this is the window after
            memory = self._sampling_plans[adapter, frames] = self._planner.sampling(adapter, frames)
            self.monitor.log(memory.sentence)
        with placed(self.backbone, memory.settings):
            yield

    def found(self, adapter: str) -> KeptAdapter:
        """See `VideoMaterials.found`."""
        kept = AdapterStore(self.paths.adapters).find(adapter)
        if kept is None:
            raise InvalidEdit(
                f"There is no adapter {adapter!r} here to continue from; take the id from a take's report, "
                "or leave continue_from empty to train anew."
            )
        return kept

    def learnt(
        self,
        name: str,
        lesson: Callable[[Callable[[int, int], None]], Lesson],
        adapter: AdapterPlan,
        plan: TrainingPlan,
        parent: KeptAdapter | None,
        recipe: Mapping[str, Any],
    ) -> KeptAdapter:
        """See `VideoMaterials.learnt`."""
        whole = {
            "stage": name,
            "footage": self._footage_hash,
            "backbone": self.backbone.identity,
            "device": self.device.kind,
            "precision": self.device.precision,
            "adapter": dataclasses.asdict(adapter),
            "parent": parent.id if parent is not None else "",
            **recipe,
        }

        def made_of(steps: int) -> dict[str, Any]:
            return {**whole, "training": dataclasses.asdict(dataclasses.replace(plan, steps=steps))}

        store = AdapterStore(self.paths.adapters)
        key = adapter_id(made_of(plan.steps))
        kept = store.find(key)
        if kept is None:
            checkpoint = TrainingCheckpoint(self.paths.checkpoint / f"{name}.safetensors", key)
            try:
                kept = self._trained(name, key, lesson, adapter, plan, parent, checkpoint)
            except TrainingDiverged as error:
                raise self._kept_what_was_good(error, adapter, made_of, store) from error
            store.add(kept, self.backbone, made_of(plan.steps))
            checkpoint.remove()
        else:
            self.monitor.log(f"The adapter's {name} is known from an earlier training ({key[:12]}).")
            self.monitor.progress(Stage.TUNE, plan.steps, plan.steps)
        self.curves[f"{name} loss"] = [(step + 1, loss) for step, loss in enumerate(kept.losses)]
        self.adapters.append(key)
        return kept

    def generated(
        self,
        denoiser: ConditionedVideo,
        grid: FlowGrid,
        controls: Sequence[Control],
        window: range,
        place: tuple[int, int],
        *,
        source: torch.Tensor | None,
    ) -> torch.Tensor:
        """See `VideoMaterials.generated`."""
        number, of = place
        size, frames = self.view.size, (len(window) - 1) // self.backbone.frame_stride + 1
        channels = denoiser.condition.shape[1]
        shape = (frames, self.backbone.latent_channels, size.latent_height, size.latent_width)
        noise = torch.randn(shape, generator=self._generator)
        run = Run(
            denoiser,
            grid,
            self._latent_regions(window),
            NoiseLine(grid, noise, source),
            self._generator,
        )
        key = self._sampling_key(number, channels)
        state = StateFile(self.paths.checkpoint / f"sample-{number}.npz", key, grid.steps)

        def watch(step: Step, clean: torch.Tensor) -> None:
            done = step.index + 1
            shown = done < step.of and done % max(1, step.of // (_PREVIEWS + 1)) == 0
            self.monitor.progress(
                Stage.SAMPLE,
                number * step.of + done,
                of * step.of,
                self._preview(clean) if shown else None,
            )

        self.monitor.progress(Stage.SAMPLE, number * grid.steps, of * grid.steps)
        with self.clock.running(Stage.SAMPLE):
            return sample(run, ELSEWHERE, controls, state, watch)

    def _trained(
        self,
        name: str,
        key: str,
        lesson: Callable[[Callable[[int, int], None]], Lesson],
        adapter: AdapterPlan,
        plan: TrainingPlan,
        parent: KeptAdapter | None,
        checkpoint: TrainingCheckpoint,
    ) -> KeptAdapter:
        def told(step: int, loss: float) -> None:
            self.monitor.figure(f"{name} loss", step, plan.steps, loss)
            self.monitor.progress(Stage.TUNE, step, plan.steps)

        weights = parent.weights if parent is not None else None
        if plan.steps == 0:  # nothing is learnt, so that nothing need be encoded
            with adapted(self.backbone, adapter, weights):
                return KeptAdapter(key, adapter, adapter_weights(self.backbone), ())
        with self.clock.running(Stage.ENCODE):
            learnt_from = lesson(lambda done, of: self.monitor.progress(Stage.ENCODE, done, of))
        frames = max(one.target.shape[0] for one in learnt_from.samples)
        memory = self._planner.training(adapter, (frames - 1) * self.backbone.frame_stride + 1)
        self.monitor.log(memory.sentence)
        self.monitor.progress(Stage.TUNE, 0, plan.steps)
        with self.clock.running(Stage.TUNE), adapted(self.backbone, adapter, weights) as parameters:
            for parameter in parameters.values():
                parameter.requires_grad_(True)  # what is trained stays on the device
            took = self.gauge.stretch()
            with placed(self.backbone, memory.settings) as swap:
                losses = train_adapter(self.backbone, parameters, learnt_from, plan, checkpoint, told)
                self.monitor.log(what_it_took(self.backbone, memory, swap, *took()))
            return KeptAdapter(key, adapter, adapter_weights(self.backbone), losses)

    def _kept_what_was_good(
        self,
        error: TrainingDiverged,
        adapter: AdapterPlan,
        made_of: Callable[[int], dict[str, Any]],
        store: AdapterStore,
    ) -> InvalidEdit:
        """What to say of a training that went wrong; the adapter as it last was good is in the store, under
        the very id of a training of so many steps.
        """
        recipe = made_of(error.steps)
        kept = KeptAdapter(adapter_id(recipe), adapter, error.weights, ())
        store.add(kept, self.backbone, recipe)
        return InvalidEdit(
            f"{error} The adapter as of step {error.steps} is kept; continue_from = {kept.id!r} goes on "
            "from it."
        )

    @property
    def _planner(self) -> MemoryPlanner:
        return MemoryPlanner(self.backbone, self.params, self.view.size, len(self.footage.frames))

    @property
    def _taught(self) -> list[int]:
        """The regions that a reference shows: only they change."""
        shown = {reference.region for reference in self.edit.references}
        return [place for place, region in enumerate(self.regions.regions) if region.name in shown]

    def _covered(self, frame: int, regions: Sequence[int]) -> NDArray[np.bool_]:
        """Where any of some regions, or a feather of theirs, shows anything of a frame at working size."""
        mattes = [self.regions.matte_of(region, frame) for region in regions]
        wholly = (np.maximum.reduce(mattes) > 0).astype(np.uint8) * np.uint8(255)
        return np.asarray(self.view.take_mask(wholly) > 0)

    @cached_property
    def _footage_hash(self) -> str:
        digest = hashlib.sha256(str(self.footage.frames.shape).encode())
        digest.update(np.ascontiguousarray(self.footage.frames).data)
        digest.update(np.packbits(self.footage.edited).data)
        return digest.hexdigest()

    def _sampling_key(self, window: int, channels: int) -> str:
        """All that decides the course of sampling: a state of any other run must not be taken up."""
        content = {
            "edit": self.edit.content_hash(),
            "window": window,
            "condition": channels,
            "adapters": self.adapters,
            "params": dataclasses.asdict(self.params),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _latent_regions(self, window: range) -> RegionStack:
        """The regions with a mask for each latent frame of a window: what any of its frames hold."""
        stride, last = self.backbone.frame_stride, self.edit.frame_count - 1
        whole = self.view.regions(self.regions)
        groups = [range(min(window.start, last), min(window.start, last) + 1)]
        groups += [
            range(min(first, last), min(first + stride - 1, last) + 1)
            for first in range(window.start + 1, window.stop, stride)
        ]
        return merge_frames(whole, groups)

    def _preview(self, clean: torch.Tensor) -> NDArray[np.uint8]:
        """A frame from the middle as it would come out now, small: two latent frames are decoded for it, as
        one alone would be taken for the clip's first.
        """
        middle = len(clean) // 2
        *_, frame = self.backbone.decode(clean[max(0, middle - 1) : middle + 1])
        if not self.view.everything:
            at = self.edit.start + min(middle * self.backbone.frame_stride, self.edit.frame_count - 1)
            frame = self.view.put(frame, next(self.reader.frames(at, at + 1)))
        scale = min(1.0, _PREVIEW_SIDE / max(frame.shape[:2]))
        if scale < 1:
            size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
            frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.float32)
        return np.rint(frame * 255).astype(np.uint8)
