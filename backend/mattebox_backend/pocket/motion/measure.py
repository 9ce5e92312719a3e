"""Measures motion modules on clips and captions that they have never seen, beside the image model alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from numpy.typing import NDArray

from mattebox_backend.pocket.dataset import encode_frames
from mattebox_backend.pocket.denoiser import add_noise
from mattebox_backend.pocket.measure import match_objects
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.motion.adapter import moving_unet
from mattebox_backend.pocket.motion.clips import clip_frames, sample_clip
from mattebox_backend.pocket.motion.sampling import predict_clips, sample_clips
from mattebox_backend.pocket.motion.training import draw_clip_noise
from mattebox_backend.pocket.seeds import MEASURE_SEEDS
from mattebox_backend.pocket.text import embed
from mattebox_backend.world.captions import CaptionForm, caption
from mattebox_backend.world.recognise import recognise
from mattebox_backend.world.sampling import SceneOptions
from mattebox_backend.world.scene import Scene

LEVELS = (100, 300, 500, 700, 900)
"""Where the error of the predicted noise is measured."""
CLIPS_AT_ONCE = 4
JUDGED_EVERY = 5
"""Every so many frames of a sampled clip one is judged."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Clips sampled from captions. change: mean absolute difference of neighbouring frames, in levels of 8
    bits. colour, shape, both: shares of the objects named that came out right, in every judged frame.
    """

    change: float
    colour: float
    shape: float
    both: float


@dataclass(frozen=True, slots=True)
class MotionFigures:
    """With the motion modules, and by the image model alone from the same noise, frame by frame.

    noise_error, base_noise_error: per level of ``LEVELS``, mean squared, over ``clips`` unseen clips.
    true_change: of the scenes that the captions were taken from.
    """

    clips: int
    objects: int
    steps: int
    guidance: float
    noise_error: dict[int, float]
    base_noise_error: dict[int, float]
    true_change: float
    sampled: Sampled
    base_sampled: Sampled

    def as_dict(self) -> dict[str, float]:
        """The figures by name, flat, for JSON."""
        figures: dict[str, float] = {
            "clips": self.clips,
            "objects": self.objects,
            "steps": self.steps,
            "guidance": self.guidance,
            "true_change": self.true_change,
        }
        for level in self.noise_error:
            figures[f"noise_error_{level}"] = self.noise_error[level]
            figures[f"base_noise_error_{level}"] = self.base_noise_error[level]
        for prefix, sampled in (("", self.sampled), ("base_", self.base_sampled)):
            figures |= {f"{prefix}{name}": value for name, value in asdict(sampled).items()}
        return figures


def measure_motion(
    base: PocketSd, adapter: MotionAdapter, clips: int = 40, *, steps: int = 30, guidance: float = 7.0
) -> MotionFigures:
    """Predict the noise in as many unseen clips, and sample one clip per caption of an unseen scene."""
    frames = int(adapter.config.motion_max_seq_length)
    image = base.models.unet
    moving = moving_unet(image, adapter)
    options = SceneOptions(blooms=0)
    scenes = [sample_clip(base, MEASURE_SEEDS + n, frames, options) for n in range(clips)]
    error, base_error = _noise_errors(base, (moving, image), scenes)
    sampled, base_sampled = (
        _sampled(base, unet, scenes, steps=steps, guidance=guidance) for unet in (moving, image)
    )
    return MotionFigures(
        clips,
        sum(len(scene.objects) for scene in scenes),
        steps,
        guidance,
        error,
        base_error,
        float(np.mean([change(clip_frames(scene)) for scene in scenes])),
        sampled,
        base_sampled,
    )


def change(clip: NDArray[np.uint8]) -> float:
    """Mean absolute difference of neighbouring frames of a clip (F, H, W, 3), in levels of 8 bits."""
    return float(np.abs(np.diff(clip.astype(np.int16), axis=0)).mean())


@torch.no_grad()
def _noise_errors(
    base: PocketSd, unets: Sequence[UNetMotionModel | UNet2DConditionModel], scenes: Sequence[Scene]
) -> list[dict[int, float]]:
    """Per UNet and level, over clips under their own captions, with the same noise for all."""
    errors: list[dict[int, list[float]]] = [{level: [] for level in LEVELS} for _ in unets]
    for number, scene in enumerate(scenes):
        clean = torch.from_numpy(encode_frames(base.vae, clip_frames(scene)).astype(np.float32))
        clean = clean.transpose(0, 1).unsqueeze(0)
        words = embed(base.tokenizer, base.models.text_encoder, [_prompt(scene, number)])
        for level in LEVELS:
            generator = torch.Generator().manual_seed(1000 * number + level)
            noise = draw_clip_noise(tuple(clean.shape), base.offset_noise, generator)
            at = torch.tensor([level])
            noisy, context = add_noise(clean, noise, at), words.expand(scene.frames, -1, -1)
            for unet, found in zip(unets, errors, strict=True):
                predicted = predict_clips(unet, noisy, at, context)
                found[level].append(float((predicted - noise).square().mean()))
    return [{level: float(np.mean(values)) for level, values in found.items()} for found in errors]


def _sampled(
    base: PocketSd,
    unet: UNetMotionModel | UNet2DConditionModel,
    scenes: Sequence[Scene],
    *,
    steps: int,
    guidance: float,
) -> Sampled:
    frames = scenes[0].frames
    prompts = [_prompt(scene, number) for number, scene in enumerate(scenes)]
    changes: list[float] = []
    right, objects = np.zeros(3), 0
    for first in range(0, len(scenes), CLIPS_AT_ONCE):
        batch = slice(first, first + CLIPS_AT_ONCE)
        clips = sample_clips(base, unet, prompts[batch], frames, seed=first, steps=steps, guidance=guidance)
        for scene, prompt, clip in zip(scenes[batch], prompts[batch], clips, strict=True):
            changes.append(change(clip))
            known = scene.background.colour if "background" in prompt else None
            for frame in clip[::JUDGED_EVERY]:
                right += match_objects(scene.objects, recognise(frame, known))
                objects += len(scene.objects)
    colour, shape, both = (float(count) for count in right / max(1, objects))
    return Sampled(float(np.mean(changes)), colour, shape, both)


def _prompt(scene: Scene, number: int) -> str:
    forms = list(CaptionForm)
    return caption(scene, 0, forms[number % len(forms)])
