"""Trains motion modules on clips while the image model stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import MotionAdapter, UNetMotionModel
from torch import Tensor

from mattebox_backend.pocket.checkpoint import fingerprint
from mattebox_backend.pocket.denoiser import LEVELS, add_noise, draw_noise, noise_error, stratified_levels
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.motion.adapter import build_adapter, moving_unet
from mattebox_backend.pocket.motion.clips import ClipSet
from mattebox_backend.pocket.motion.config import PocketMotionConfig
from mattebox_backend.pocket.optimizer import build_optimizers
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import step_generator
from mattebox_backend.pocket.text import token_ids
from mattebox_backend.pocket.training import Stretch, put_average


def train_motion(
    config: PocketMotionConfig,
    base: PocketSd,
    data: ClipSet,
    work: Path,
    on_checkpoint: Callable[[int, MotionAdapter], None] | None = None,
) -> MotionAdapter:
    """Train in ``work``, or go on from the checkpoint there; returns the averaged motion modules.

    Noise, levels and loss are those that the base was trained with, on all frames of a clip at one level;
    ``on_checkpoint`` gets the step and the averaged modules at each checkpoint. Between two runs the number
    of steps may change; everything else must stay.
    """
    settings = config.training
    torch.manual_seed(config.seed)
    adapter = build_adapter(config.adapter, base.models.unet)
    loss = _Loss(config, base, data, moving_unet(base.models.unet, adapter))
    parameters = list(adapter.parameters())
    stretch = Stretch(
        work / "motion.safetensors",
        _fingerprint(config, data),
        {"motion": adapter},
        build_optimizers(
            settings.optimizer,
            [p for p in parameters if p.ndim >= 2],
            [p for p in parameters if p.ndim < 2],
            settings.learning_rate,
        ),
        settings.steps,
        settings.learning_rate,
        settings.warmup,
        settings.ema,
        config.checkpoint_every,
    )

    def tell(step: int, average: dict[str, Tensor]) -> None:
        if on_checkpoint is not None:
            on_checkpoint(step, _averaged(adapter, average))

    average = stretch.run(loss.of_step, RunLog(work / "progress.jsonl", "motion", settings.steps), 0, tell)
    return _averaged(adapter, average)


def draw_clip_noise(shape: tuple[int, ...], offset: float, generator: torch.Generator) -> Tensor:
    """White noise for clips, (N, 4, F, h, w) float32, with an offset per channel that all frames of a clip
    share.

    A frame alone looks as it did when the base was trained. An offset of its own for every frame would
    average out over the clip, and the noisiest latents would tell its mean colour, so that the motion modules
    would learn to take it from there and not from the prompt.
    """
    clips, channels, frames, height, width = shape
    return draw_noise((clips, channels, frames * height, width), offset, generator).view(shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Loss:
    config: PocketMotionConfig
    base: PocketSd
    data: ClipSet
    unet: UNetMotionModel

    def of_step(self, step: int) -> dict[str, Tensor]:
        config, settings = self.config, self.config.training
        generator = step_generator(config.seed, 3, step)
        latents, tokens = self._batch(np.random.default_rng((config.seed, 3, step)))
        levels = stratified_levels(settings.batch, LEVELS, generator)
        noise = draw_clip_noise(tuple(latents.shape), self.base.offset_noise, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            with torch.no_grad():
                context = self.base.models.text_encoder(tokens.flatten(0, 1)).last_hidden_state
            predicted = self.unet(add_noise(latents, noise, levels), levels, context).sample
        return {"noise_error": noise_error(predicted, noise, levels)}

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Clips (N, 4, F, h, w) float32, some of them backwards, and the tokens of their frames (N, F, L)."""
        settings = self.config.training
        chosen = rng.integers(len(self.data.latents), size=settings.batch)
        forms = rng.integers(self.data.tokens.shape[1], size=settings.batch)
        latents = torch.from_numpy(self.data.latents[chosen].astype(np.float32)).transpose(1, 2)
        tokens = torch.from_numpy(self.data.tokens[chosen, forms].astype(np.int64))
        empty = token_ids(self.base.tokenizer, [""])
        for place in range(settings.batch):
            if rng.random() < settings.reversed_share:
                latents[place] = latents[place].flip(1)
                tokens[place] = tokens[place].flip(0)
            if rng.random() < settings.empty_prompt_share:
                tokens[place] = empty
        return latents, tokens


def _fingerprint(config: PocketMotionConfig, data: ClipSet) -> str:
    return fingerprint(
        "motion", data.mark, config.model_dump(exclude={"checkpoint_every": True, "training": {"steps"}})
    )


def _averaged(adapter: MotionAdapter, average: dict[str, Tensor]) -> MotionAdapter:
    copied = copy.deepcopy(adapter)
    put_average(average, "motion", copied)
    return copied
