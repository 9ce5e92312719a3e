"""Measures a pocket-wan-i2v on scenes that it has never seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.backbones.wan import Wan
from mattebox_backend.device import Device
from mattebox_backend.pocket.measure import match_objects
from mattebox_backend.pocket.motion.measure import change
from mattebox_backend.pocket.seeds import MEASURE_SEEDS
from mattebox_backend.pocket.wan.clips import clip_frames
from mattebox_backend.pocket.wan.sampling import sample_clip
from mattebox_backend.world.captions import caption
from mattebox_backend.world.recognise import recognise
from mattebox_backend.world.sampling import SceneOptions, sample_scene

JUDGED_EVERY = 4
"""Every so many frames of a clip one is judged."""


@dataclass(frozen=True, slots=True)
class WanFigures:
    """Over clips generated from the first frame and the caption of unseen scenes.

    vae_psnr: of unseen clips through the autoencoder, dB. first_psnr: of the generated first frame to the
    given one. colour, shape, both: shares of the first frame's objects that are still there in later frames.
    last_both: the same, of the last of the judged frames alone. change, true_change: mean absolute
    difference of neighbouring frames, in levels of 8 bits.
    """

    clips: int
    objects: int
    steps: int
    guidance: float
    vae_psnr: float
    first_psnr: float
    colour: float
    shape: float
    both: float
    last_both: float
    change: float
    true_change: float

    def as_dict(self) -> dict[str, float]:
        """The figures by name, for JSON."""
        return asdict(self)


def load_wan(folder: Path) -> Wan:
    """The model in a folder, in float32 on the CPU."""
    return Wan.load(ModelFolder.open(folder), Device("cpu", 0, "float32"))


@torch.no_grad()
def measure_wan(model: Wan, clips: int = 30, *, steps: int = 20, guidance: float = 3.0) -> WanFigures:
    """Generate one clip per scene of as many unseen ones."""
    options = SceneOptions(blooms=0, counts=(0, 0.5, 0.5))
    side, frames = model.side, model.frame_limit or 17
    errors: list[float] = []
    firsts: list[float] = []
    changes: list[float] = []
    truly: list[float] = []
    right, last, objects, ends = np.zeros(3), np.zeros(3), 0, 0
    for number in range(clips):
        scene = sample_scene(MEASURE_SEEDS + number, options, width=side, height=side, frames=frames)
        clip = clip_frames(scene)
        through = np.stack(list(model.decode(model.encode(clip))))
        errors.append(_psnr(clip, through))
        made = sample_clip(model, clip, caption(scene, 0), seed=number, steps=steps, guidance=guidance)
        firsts.append(_psnr(clip[:1], made[:1] / np.float32(255)))
        changes.append(change(made))
        truly.append(change(clip))
        for time in range(JUDGED_EVERY, frames, JUDGED_EVERY):
            found = np.asarray(match_objects(scene.objects, recognise(made[time], scene.background.colour)))
            right, objects = right + found, objects + len(scene.objects)
            if time + JUDGED_EVERY >= frames:
                last, ends = last + found, ends + len(scene.objects)
    colour, shape, both = (float(count) for count in right / max(1, objects))
    return WanFigures(
        clips,
        objects,
        steps,
        guidance,
        float(np.mean(errors)),
        float(np.mean(firsts)),
        colour,
        shape,
        both,
        float(last[2] / max(1, ends)),
        float(np.mean(changes)),
        float(np.mean(truly)),
    )


def _psnr(clip: NDArray[np.uint8], other: NDArray[np.floating[Any]]) -> float:
    """dB, of frames uint8 to frames in [0, 1]."""
    error = float(np.square(clip / np.float32(255) - other).mean())
    return -10 * float(np.log10(max(error, 1e-10)))
