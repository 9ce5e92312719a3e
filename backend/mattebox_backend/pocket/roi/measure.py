"""Measures `pocket-roi` on edits of scenes that it has never seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from mattebox_backend.attention import CallLayout, Reach
from mattebox_backend.backbones.region_network import RegionCondition, RegionNetwork
from mattebox_backend.masks import matte
from mattebox_backend.metrics.boundary import boundary_error
from mattebox_backend.metrics.fidelity import masked_psnr
from mattebox_backend.pocket.denoiser import build_scheduler, draw_noise
from mattebox_backend.pocket.measure import match_objects
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.roi.dataset import encode_pairs
from mattebox_backend.pocket.roi.edits import FRAMES, sample_pair
from mattebox_backend.pocket.roi.network import connect
from mattebox_backend.pocket.seeds import MEASURE_SEEDS
from mattebox_backend.pocket.text import embed
from mattebox_backend.world.recognise import recognise

_PAIRS_AT_ONCE = 8
_EDITED = "edited"
_EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class RoiFigures:
    """Shares of the objects of the edited scenes that came out with the right colour, shape, and both, after
    the composite; PSNR (dB) to the true edit inside the regions, and to the source outside *before* the
    composite, both decoded; E_bound (eq. 6.2) against the true edit.
    """

    pairs: int
    objects: int
    colour: float
    shape: float
    both: float
    region_psnr: float
    background_psnr: float
    boundary: float
    steps: int
    guidance: float

    def as_dict(self) -> dict[str, float]:
        """The figures by name, for JSON."""
        return asdict(self)


@torch.no_grad()
def measure_roi(
    network: RegionNetwork, base: PocketSd, pairs: int = 100, *, steps: int = 20, guidance: float = 5.0
) -> RoiFigures:
    """Edit `pairs` unseen pairs of frames from pure noise, told the mask and what lies around."""
    connect(network)
    size = 8 * int(base.models.unet.config.sample_size)
    colour = shape = both = objects = 0
    inside: list[float] = []
    outside: list[float] = []
    edges: list[float] = []
    for first in range(0, pairs, _PAIRS_AT_ONCE):
        chosen = [
            sample_pair(MEASURE_SEEDS + n, size) for n in range(first, min(pairs, first + _PAIRS_AT_ONCE))
        ]
        data = encode_pairs(base, chosen)
        modes = np.arange(first, first + len(chosen)) % data.masks.shape[1]
        shares = torch.from_numpy(data.masks[np.arange(len(chosen)), modes].astype(np.float32) / 255)
        mask = shares.amax(1).unsqueeze(2)
        source = torch.from_numpy(data.source.astype(np.float32))
        known = torch.where(mask > 0, torch.zeros_like(source), source)
        condition = RegionCondition(mask, known, shares, torch.from_numpy(data.words.astype(np.float32)))
        prompts = [pair.caption for pair in chosen]
        latents = _sample(network, base, condition, prompts, first, steps, guidance)
        decoded = base.vae.decode(latents.flatten(0, 1) / base.vae.config.scaling_factor).sample
        frames = decoded.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
        pictures = frames.permute(0, 2, 3, 1).numpy().reshape(len(chosen), FRAMES, size, size, 3)
        for pair, mode, made in zip(chosen, modes, pictures, strict=True):
            region = np.max([masks[int(mode)] for masks in pair.masks], axis=0)
            alpha = np.stack([matte(plane) for plane in region])[..., None]
            shown = np.rint(alpha * made + (1 - alpha) * pair.source).astype(np.uint8)
            seen = recognise(shown[0], pair.scene.background.colour)
            right = match_objects(pair.scene.objects, seen)
            colour, shape, both = colour + right[0], shape + right[1], both + right[2]
            objects += len(pair.scene.objects)
            inside += _finite(masked_psnr(shown, pair.edited, region))
            outside += _finite(masked_psnr(made, pair.source, region == 0))
            edges += _finite(boundary_error(shown, pair.edited, region))
    count = max(1, objects)
    return RoiFigures(
        pairs,
        objects,
        colour / count,
        shape / count,
        both / count,
        float(np.mean(inside)),
        float(np.mean(outside)),
        float(np.mean(edges)),
        steps,
        guidance,
    )


def _sample(
    network: RegionNetwork,
    base: PocketSd,
    condition: RegionCondition,
    prompts: list[str],
    seed: int,
    steps: int,
    guidance: float,
) -> torch.Tensor:
    """Latents (B, F, C, h, w) by DDIM from noise, guided away from no prompt."""
    scheduler = build_scheduler()
    scheduler.set_timesteps(steps)
    shape = condition.source.shape
    count, frames = shape[:2]
    text = torch.cat(
        [
            embed(base.tokenizer, base.models.text_encoder, [""] * count),
            embed(base.tokenizer, base.models.text_encoder, prompts),
        ]
    )
    names = [f"{kind} {n}" for kind in (_EMPTY, _EDITED) for n in range(count)]
    twice = RegionCondition(
        mask=torch.cat([condition.mask] * 2),
        source=torch.cat([condition.source] * 2),
        shares=torch.cat([condition.shares] * 2),
        words=torch.cat([condition.words] * 2),
        routed=frozenset(name for name in names if name.startswith(_EDITED)),
    )
    layout = CallLayout(tuple(names), range(frames), (shape[-2], shape[-1]), Reach.OWN)
    noise = draw_noise((count * frames, *shape[2:]), base.offset_noise, torch.Generator().manual_seed(seed))
    latents = noise.view(shape)
    for level in scheduler.timesteps:
        without, given = network(torch.cat([latents, latents]), int(level), text, twice, layout).chunk(2)
        latents = scheduler.step(without + guidance * (given - without), level, latents).prev_sample
    return latents


def _finite(value: float | None) -> list[float]:
    return [value] if value is not None and np.isfinite(value) else []
