"""Measures a pocket model on captions and frames that it has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations

import numpy as np
from diffusers import AutoencoderKL

from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.sampling import sample_frames
from mattebox_backend.pocket.seeds import MEASURE_SEEDS
from mattebox_backend.pocket.vae import psnr_of, reconstruct, to_pixels
from mattebox_backend.world.captions import CaptionForm, caption
from mattebox_backend.world.recognise import Sighting, recognise
from mattebox_backend.world.render import render_frame
from mattebox_backend.world.sampling import SceneOptions, sample_scene
from mattebox_backend.world.scene import Scene, SceneObject

SAMPLE_BATCH = 20


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """Shares of the objects named in the captions that came out with the right colour, shape, and both; of
    the captions with the right number of objects; and the mean PSNR (dB) of unseen frames through the
    autoencoder.
    """

    captions: int
    objects: int
    colour: float
    shape: float
    both: float
    count: float
    vae_psnr: float
    steps: int
    guidance: float

    def as_dict(self) -> dict[str, float]:
        """The figures by name, for JSON."""
        return asdict(self)


def measure(model: PocketSd, captions: int = 200, *, steps: int = 30, guidance: float = 7.0) -> ModelFigures:
    """Sample one frame per caption of an unseen scene and let the recogniser judge it; send as many unseen
    frames through the VAE.
    """
    scenes = [sample_scene(MEASURE_SEEDS + n, SceneOptions(blooms=0)) for n in range(captions)]
    forms = list(CaptionForm)
    prompts = [caption(scene, 0, forms[n % len(forms)]) for n, scene in enumerate(scenes)]
    colour = shape = both = count = objects = 0
    for first in range(0, captions, SAMPLE_BATCH):
        batch = slice(first, first + SAMPLE_BATCH)
        frames = sample_frames(model, prompts[batch], seed=first, steps=steps, guidance=guidance)
        for scene, prompt, frame in zip(scenes[batch], prompts[batch], frames, strict=True):
            known = scene.background.colour if "background" in prompt else None
            seen = recognise(frame, known)
            right = match_objects(scene.objects, seen)
            colour, shape, both = colour + right[0], shape + right[1], both + right[2]
            count += len(seen) == len(scene.objects)
            objects += len(scene.objects)
    return ModelFigures(
        captions,
        objects,
        colour / objects,
        shape / objects,
        both / objects,
        count / captions,
        _vae_psnr(model.vae, scenes),
        steps,
        guidance,
    )


def match_objects(wanted: Sequence[SceneObject], seen: Sequence[Sighting]) -> tuple[int, int, int]:
    """How many of ``wanted`` are seen with the right colour, the right shape, and both, under the best
    pairing of the two.
    """
    candidates: list[Sighting | None] = [*seen[: len(wanted) + 2], *[None] * len(wanted)]
    best = (0, 0, 0)
    for chosen in permutations(candidates, len(wanted)):
        pairs = [(w, s) for w, s in zip(wanted, chosen, strict=True) if s is not None]
        colour = sum(s.colour is w.colour for w, s in pairs)
        shape = sum(s.shape is w.shape for w, s in pairs)
        both = sum(s.colour is w.colour and s.shape is w.shape for w, s in pairs)
        best = max(best, (colour, shape, both), key=lambda found: (found[2], sum(found)))
    return best


def _vae_psnr(vae: AutoencoderKL, scenes: Sequence[Scene]) -> float:
    values = []
    for first in range(0, len(scenes), SAMPLE_BATCH):
        batch = scenes[first : first + SAMPLE_BATCH]
        pixels = to_pixels(np.stack([render_frame(scene, 0) for scene in batch]))
        error = (reconstruct(vae, pixels) - pixels).square().mean(dim=(1, 2, 3))
        values += [psnr_of(float(e)) for e in error]
    return float(np.mean(values))
