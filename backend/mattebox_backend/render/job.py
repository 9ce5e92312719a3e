"""One render as its method's recipe sees it: inverting, tuning and sampling, with caches, checkpoints and
progress around them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from mattebox_media import ClipReader
from numpy.typing import NDArray

from mattebox_backend.backbones.controlnet import ControlNet
from mattebox_backend.backbones.inflated import inflate, with_weights
from mattebox_backend.backbones.protocol import Backbone, check_frames
from mattebox_backend.backbones.stable_diffusion import StableDiffusion
from mattebox_backend.controls.text_layout import TextLayout, words_of
from mattebox_backend.device import Device
from mattebox_backend.diffusion.checkpoint import StateFile
from mattebox_backend.diffusion.control import DEFAULT_PLAN, Control, Run, SamplingPlan, Step
from mattebox_backend.diffusion.denoiser import Denoiser
from mattebox_backend.diffusion.inspection import Inspector
from mattebox_backend.diffusion.inversion import invert
from mattebox_backend.diffusion.noising import noised
from mattebox_backend.diffusion.pivotal import Conditional, PivotalPlan, find_pivots
from mattebox_backend.diffusion.pivots import Pivots, PivotStore
from mattebox_backend.diffusion.sampler import sample
from mattebox_backend.diffusion.trajectory import Trajectory, TrajectoryKey, TrajectoryStore
from mattebox_backend.diffusion.tuning import TunedWeights, TuningCheckpoint, TuningPlan, tune
from mattebox_backend.edit import ControlChoice, Edit
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.masks import RegionStack
from mattebox_backend.render.encoding import encode_frames
from mattebox_backend.render.stages import BackboneSource, RenderMonitor, RenderPaths, Stage, StageClock
from mattebox_backend.render.view import View

INSPECTION = "inspection"
"""The folder, in a job's checkpoint and in its take, of what an inspected run did."""

_PREVIEWS = 5
_PREVIEW_SIDE = 256


@dataclass(slots=True)
class RenderJob:
    """What a method's recipe works with (`methods.materials.Materials`), on real files and a real model.

    regions: as they lie in the `view`, the part of the picture that is worked on.
    """

    edit: Edit
    models: BackboneSource
    device: Device
    paths: RenderPaths
    monitor: RenderMonitor
    clock: StageClock
    reader: ClipReader
    backbone: Backbone
    regions: RegionStack
    params: Any
    view: View
    inversion_cached: bool = False
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    adapters: list[str] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        """The edit's global prompt."""
        return self.edit.prompt

    @property
    def source_prompt(self) -> str:
        """The edit's source prompt."""
        return self.edit.source_prompt

    @property
    def picture_size(self) -> tuple[int, int]:
        """See `Materials.picture_size`."""
        return self.view.whole.latent_height, self.view.whole.latent_width

    @property
    def controls(self) -> Sequence[ControlChoice]:
        """See `Materials.controls`."""
        return self.edit.controls

    @property
    def pixels_per_cell(self) -> float:
        """See `Materials.pixels_per_cell`."""
        return self.reader.info.height / self.view.whole.latent_height

    @property
    def condition_pictures(self) -> NDArray[np.uint8] | None:
        """See `Materials.condition_pictures`."""
        given = self.edit.condition_pictures
        return None if given is None else np.stack([self.view.take(picture) for picture in given])

    def frames(self) -> NDArray[np.uint8]:
        """See `Materials.frames`."""
        with self.clock.running(Stage.DECODE):
            frames = self.reader.frames(self.edit.start, self.edit.stop)
            return np.stack([self.view.take(frame) for frame in frames])

    def controlnet(self, name: str) -> ControlNet:
        """See `Materials.controlnet`."""
        with self.clock.running(Stage.LOAD):
            return self.models.load_controlnet(name, self.device)

    def invert(self, denoiser: Denoiser, prompt: str, *, steps: int) -> Trajectory:
        """See `Materials.invert`."""
        clock, monitor = self.clock, self.monitor
        check_frames(denoiser.backbone, max(map(len, denoiser.windows_over(self.edit.frame_count))))
        grid = denoiser.backbone.schedule.grid(steps)
        key = self._key(denoiser, prompt, grid.timesteps)
        store = TrajectoryStore(self.paths.inversions)
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
            lambda: self._encode(Stage.INVERT),
            store,
            self.paths.checkpoint,
            lambda step, of: monitor.progress(Stage.INVERT, step, of),
        )
        inner = sum(clock.seconds.values()) - inner
        clock.add(Stage.INVERT, time.perf_counter() - began - inner)
        return trajectory

    def tuned(self, denoiser: Denoiser, prompt: str, plan: TuningPlan) -> Denoiser:
        """See `Materials.tuned`."""
        backbone = denoiser.backbone
        if not isinstance(backbone, StableDiffusion) or backbone.frame_limit is not None:
            raise InvalidEdit(
                f"{backbone.name} knows motion and cannot be tuned on one clip; set tuning_steps to 0."
            )
        model = inflate(backbone)
        inflated = dataclasses.replace(denoiser, backbone=model)
        clip = dataclasses.asdict(self._key(inflated, prompt, ()))
        content = json.dumps({"tuning": 1, **clip, **dataclasses.asdict(plan)}, sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        store = TunedWeights(self.paths.inversions / f"{digest}.safetensors")
        weights = store.find()
        if weights is None:
            latents = self._encode(Stage.TUNE)
            text = backbone.embed(prompt).states
            checkpoint = TuningCheckpoint(self.paths.checkpoint / "tuning.safetensors", digest)
            with self.clock.running(Stage.TUNE):
                weights = tune(
                    inflated,
                    latents,
                    text,
                    plan,
                    lambda step, of: self.monitor.progress(Stage.TUNE, step, of),
                    checkpoint,
                )
                store.add(weights)
                checkpoint.remove()
        else:
            self.monitor.log("The model that was tuned on this clip is taken from the cache.")
            self.monitor.progress(Stage.TUNE, plan.steps, plan.steps)
        return dataclasses.replace(denoiser, backbone=with_weights(model, weights, digest))

    def pivots(
        self,
        denoiser: Denoiser,
        trajectory: Trajectory,
        empty: str,
        plan: PivotalPlan,
        conditional: Conditional,
        identity: str,
    ) -> Pivots:
        """See `Materials.pivots`."""
        backbone, steps = denoiser.backbone, len(trajectory.latents) - 1
        grid = backbone.schedule.grid(steps)
        clip = dataclasses.asdict(self._key(denoiser, self.source_prompt, grid.timesteps))
        found_by = {"pivots": 1, **clip, **dataclasses.asdict(plan), "empty": empty, "guidance": identity}
        digest = hashlib.sha256(json.dumps(found_by, sort_keys=True).encode()).hexdigest()
        store = PivotStore(self.paths.inversions)
        found = store.find(digest, steps)
        if found is not None:
            self.monitor.log("The pivotal inversion of this clip is taken from the cache.")
            self.monitor.progress(Stage.TUNE, steps, steps)
            return found
        self.monitor.progress(Stage.TUNE, 0, steps)
        with self.clock.running(Stage.TUNE):
            return find_pivots(
                denoiser,
                grid,
                trajectory,
                backbone.embed(empty).states,
                plan,
                conditional,
                self.picture_size,
                store,
                digest,
                self.paths.checkpoint,
                lambda step, of: self.monitor.progress(Stage.TUNE, step, of),
            )

    def noised(self, denoiser: Denoiser, *, steps: int) -> Trajectory:
        """See `Materials.noised`."""
        clean = self._encode(Stage.INVERT)
        self.paths.checkpoint.mkdir(parents=True, exist_ok=True)
        trajectory = noised(
            clean,
            denoiser.backbone.schedule.grid(steps),
            self._generator(),
            self.paths.checkpoint / "noised.npy",
        )
        self.monitor.progress(Stage.INVERT, 1, 1)
        return trajectory

    def sample(
        self,
        denoiser: Denoiser,
        words: TextLayout,
        start: Trajectory,
        controls: Sequence[Control],
        plan: SamplingPlan = DEFAULT_PLAN,
        *,
        regions: RegionStack | None = None,
    ) -> torch.Tensor:
        """See `Materials.sample`."""
        grid = denoiser.backbone.schedule.grid(len(start.latents) - 1)
        regions = regions or self.regions
        run = Run(denoiser, grid, regions, start, self._generator(), plan, self.picture_size)
        file = self.paths.checkpoint / "sample.npz"
        checkpoint = StateFile(file, self._sampling_key(denoiser), grid.steps)
        self.monitor.progress(Stage.SAMPLE, 0, grid.steps)
        with self.clock.running(Stage.SAMPLE):
            return sample(run, words.states, controls, checkpoint, self._watch, self._inspector(words))

    def _inspector(self, words: TextLayout) -> Inspector | None:
        if not self.edit.inspect:
            return None
        named = words_of(self.backbone, words, self.regions.regions)
        source = self.backbone.embed(self.source_prompt).states
        return Inspector(self.paths.checkpoint / INSPECTION, named, source, self.edit.seed)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.edit.seed % 2**63)

    def _sampling_key(self, denoiser: Denoiser) -> str:
        """All that decides the course of sampling: a state of any other run must not be taken up."""
        content = {
            "edit": self.edit.content_hash(),
            "backbone": denoiser.backbone.identity,
            "params": dataclasses.asdict(self.params),
            "device": self.device.name,
            "precision": self.device.precision,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _key(self, denoiser: Denoiser, prompt: str, timesteps: tuple[int, ...]) -> TrajectoryKey:
        """What is learnt of the clip is filed under this."""
        windows = denoiser.windows
        return TrajectoryKey(
            clip_hash=self.edit.clip_hash or self.reader.content_hash(),
            start=self.edit.start,
            stop=self.edit.stop,
            width=self.view.whole.width,
            height=self.view.whole.height,
            backbone=denoiser.backbone.identity,
            prompt=prompt,
            timesteps=timesteps,
            reach=denoiser.reach,
            windows=(windows.size, windows.stride) if windows is not None else None,
            device=self.device.kind,
            precision=self.device.precision,
            part=self.view.box,
        )

    def _encode(self, before: Stage) -> torch.Tensor:
        """The source's latents (F, C, h, w); the stage `before` which they are made begins when they are
        there.
        """
        latents = encode_frames(
            self.reader,
            range(self.edit.start, self.edit.stop),
            self.view,
            self.backbone,
            self.clock,
            lambda done, of: self.monitor.progress(Stage.ENCODE, done, of),
        )
        self.monitor.progress(before, 0, 1)
        return latents

    def _watch(self, step: Step, clean: torch.Tensor) -> None:
        preview = None
        done = step.index + 1
        if done < step.of and done % max(1, step.of // (_PREVIEWS + 1)) == 0:
            preview = self._preview(clean)
        self.monitor.progress(Stage.SAMPLE, done, step.of, preview)

    def _preview(self, clean: torch.Tensor) -> NDArray[np.uint8]:
        """The middle frame as it would come out now, small."""
        middle = len(clean) // 2
        frame = next(iter(self.backbone.decode(clean[middle : middle + 1])))
        if not self.view.everything:
            source = next(self.reader.frames(self.edit.start + middle, self.edit.start + middle + 1))
            frame = self.view.put(frame, source)
        scale = min(1.0, _PREVIEW_SIDE / max(frame.shape[:2]))
        if scale < 1:
            size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
            frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.float32)
        return np.rint(frame * 255).astype(np.uint8)
