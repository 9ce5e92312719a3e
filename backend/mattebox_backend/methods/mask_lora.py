"""Mask-aware LoRA: an edited first frame, and others on request, carried through the clip by an adapter that
was trained on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.backbones.video_protocol import VideoBackbone, padded_length
from mattebox_backend.controls.guidance import UNCONDITIONAL_BRANCH, ClassifierFreeGuidance
from mattebox_backend.controls.latent_blend import LatentBlend
from mattebox_backend.diffusion.control import EDIT_BRANCH, Control
from mattebox_backend.diffusion.video_denoiser import ELSEWHERE, ConditionedVideo
from mattebox_backend.errors import InvalidEdit
from mattebox_backend.lora.adapter import AdapterPlan, adapted
from mattebox_backend.lora.samples import (
    OTHER_ORDERS,
    appearance_samples,
    hidden,
    motion_samples,
    placed_samples,
    recoloured,
    training_windows,
)
from mattebox_backend.lora.spans import generation_windows
from mattebox_backend.lora.store import KeptAdapter
from mattebox_backend.lora.told import Told, known_pixels
from mattebox_backend.lora.training import Lesson, TrainingPlan
from mattebox_backend.methods.mask_lora_parameters import IN_THE_CLIP, MaskLoraParameters
from mattebox_backend.methods.video_materials import VideoMaterials

Picture = NDArray[np.uint8]


def mask_lora(materials: VideoMaterials, p: MaskLoraParameters) -> Generator[NDArray[np.float32]]:
    """Edited frames (H, W, 3) float32 in [0, 1] of the clip in `materials`, at working size, one by one.

    Section 3.3 and figure 3:
      1. motion       a LoRA learns the source, of which the regions are hidden but in the first frame; as an
                      option, in other colours too
      2. appearance   it goes on with each reference by itself, made from the source with the regions hidden,
                      or, as an option, with each at its place in the clip
      3. inference    from the edited first frame and what lies outside the regions, the clip is generated;
                      clips that are longer than the model's in windows that begin with what is made.
    """
    if 0 not in materials.pictures:
        raise InvalidEdit(
            "The edit has no reference at the first frame of its range; that edited picture is what is "
            "carried through the clip. Give one, or begin the range at a frame that has one."
        )
    return _generated(materials, p, _learnt(materials, p))


def learnt_windows(backbone: VideoBackbone, frames: int, size: int) -> tuple[range, ...]:
    """The stretches of footage that are learnt from one at a time. size: of one; 0: all that the model takes
    at once.
    """
    return training_windows(frames, _at_most(size, backbone.frame_limit))


def made_windows(
    backbone: VideoBackbone, frames: int, p: MaskLoraParameters
) -> tuple[tuple[range, int], ...]:
    """The stretches of footage that are generated one after the other, as `generation_windows` gives them."""
    stride = backbone.frame_stride
    size = padded_length(p.window_frames, stride) if p.window_frames else 0
    return generation_windows(
        frames, _at_most(size, backbone.frame_limit) or frames, padded_length(p.window_overlap, stride)
    )


def _learnt(materials: VideoMaterials, p: MaskLoraParameters) -> KeptAdapter:
    """The adapter after both stages."""
    footage, backbone, told = materials.footage, materials.backbone, Told(p.told)
    adapter = AdapterPlan(p.rank, p.alpha, p.feed_forward)
    plan = TrainingPlan(p.motion_steps, p.learning_rate, p.draws, p.training_shift)
    windows = learnt_windows(backbone, len(footage.frames), materials.training_window)
    was, will_be = _prompt(p, materials.source_prompt), _prompt(p, materials.prompt)

    encoded: Lesson | None = None

    def motion(progress: Callable[[int, int], None]) -> Lesson:
        nonlocal encoded  # both stages may learn from it
        if encoded is None:
            encoded = _motion_lesson(materials, p, windows, progress)
        return encoded

    recipe: dict[str, Any] = {
        "told": told,
        "prompt": was,
        "windows": [[window.start, window.stop] for window in windows],
        "colour_augmentation": p.colour_augmentation,
    }
    parent = materials.found(p.continue_from) if p.continue_from else None
    kept = materials.learnt("motion", motion, adapter, plan, parent, recipe)
    if len(materials.pictures) < 2 or p.appearance_steps == 0:
        return kept
    taught, in_place = Told(p.appearance_told), p.appearance_at == IN_THE_CLIP

    def appearance(progress: Callable[[int, int], None]) -> Lesson:
        progress(0, 1)
        what = (backbone, footage, materials.pictures, taught, will_be)
        pictures = Lesson(placed_samples(*what, windows) if in_place else appearance_samples(*what))
        if p.motion_share == 0:
            return pictures
        return Lesson.mixed((motion(progress), p.motion_share), (pictures, 1 - p.motion_share))

    recipe = {
        "told": taught,
        "prompt": will_be,
        "motion": recipe,
        "motion_share": p.motion_share,
        "appearance_at": p.appearance_at,
        "pictures": {
            str(frame): hashlib.sha256(picture.tobytes()).hexdigest()
            for frame, picture in sorted(materials.pictures.items())
        },
    }
    plan = replace(plan, steps=p.appearance_steps, seed=plan.seed + 1)
    return materials.learnt("appearance", appearance, kept.plan, plan, kept, recipe)


def _motion_lesson(
    materials: VideoMaterials,
    p: MaskLoraParameters,
    windows: tuple[range, ...],
    progress: Callable[[int, int], None],
) -> Lesson:
    """The source, and as often as `colour_augmentation` says in other colours."""
    varied, prompt = p.colour_augmentation > 0, _prompt(p, materials.source_prompt)
    others, of = (recoloured(materials.footage), 1 + len(OTHER_ORDERS)) if varied else ((), 1)
    lessons = []
    for place, clip in enumerate(chain([materials.footage], others)):
        progress(place, of)
        lessons.append(Lesson(motion_samples(materials.backbone, clip, Told(p.told), prompt, windows)))
    own, *varieties = lessons
    if not varied:
        return own
    share = p.colour_augmentation / len(varieties)
    return Lesson.mixed((own, 1 - p.colour_augmentation), *((one, share) for one in varieties))


def _generated(
    materials: VideoMaterials, p: MaskLoraParameters, kept: KeptAdapter
) -> Generator[NDArray[np.float32]]:
    """Window after window; what one has made is the known beginning of the next."""
    footage, backbone = materials.footage, materials.backbone
    windows = made_windows(backbone, len(footage.frames), p)
    done: list[Picture] = []
    with adapted(backbone, kept.plan, kept.weights):
        for place, (window, made) in enumerate(windows):
            before = done[window.start : window.start + made]
            latents = _window(materials, p, kept.plan, window, before, (place, len(windows)))
            for frame, decoded in enumerate(backbone.decode(latents)):
                if frame < made:
                    continue
                at = window.start + frame
                if len(windows) > 1:
                    done.append(_over(footage.frames[at], _eight_bit(decoded), footage.edited[at]))
                if at < materials.frame_count:
                    yield decoded


def _window(
    materials: VideoMaterials,
    p: MaskLoraParameters,
    adapter: AdapterPlan,
    window: range,
    made: list[Picture],
    place: tuple[int, int],
) -> torch.Tensor:
    """Clean latents of a window of the footage that begins with frames that are made already."""
    backbone, part = materials.backbone, materials.footage.part(window)
    frames, known = part.frames.copy(), known_pixels(Told(p.told), part.edited)
    held = materials.pictures if p.hold_references else {0: materials.pictures[0]}
    for frame, picture in held.items():
        if frame in window:
            frames[frame - window.start] = picture
            known[frame - window.start] |= frame > 0
    for frame, picture in enumerate(made):
        frames[frame], known[frame] = picture, True
    begins = hidden(frames[0], known[0])
    denoiser = ConditionedVideo(
        backbone,
        backbone.condition(frames, known),
        {
            EDIT_BRANCH: backbone.prompt(_prompt(p, materials.prompt), begins),
            UNCONDITIONAL_BRANCH: backbone.prompt(p.negative_prompt, begins),
        },
    )
    controls: list[Control] = [ClassifierFreeGuidance(UNCONDITIONAL_BRANCH, ELSEWHERE, p.guidance)]
    if p.latent_blend:
        controls.append(LatentBlend())
    grid = backbone.schedule.grid(p.steps, p.shift)
    source = backbone.encode(part.frames) if p.latent_blend else None
    with materials.placed_for_sampling(adapter, len(window)):  # the encoders have left the device
        return materials.generated(denoiser, grid, controls, window, place, source=source)


def _prompt(p: MaskLoraParameters, words: str) -> str:
    """`[p*] + c` (section 3.1)."""
    return f"{p.token} {words}".strip()


def _at_most(size: int, limit: int | None) -> int:
    """A number of frames, 0 for all, that a model takes."""
    return size if limit is None else min(size or limit, limit)


def _over(source: Picture, edited: Picture, mask: NDArray[np.bool_]) -> Picture:
    return np.where(mask[..., None], edited, source)


def _eight_bit(frame: NDArray[np.float32]) -> Picture:
    return np.rint(frame * 255).astype(np.uint8)
