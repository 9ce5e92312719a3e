"""Trains `pocket-roi` on pairs of the world, from pocket-sd's weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mattebox_backend.attention import CallLayout, Reach
from mattebox_backend.backbones.region_network import RegionCondition, RegionDesign, RegionNetwork
from mattebox_backend.pocket.checkpoint import fingerprint
from mattebox_backend.pocket.denoiser import LEVELS, add_noise, draw_noise, kept_signal, stratified_levels
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.optimizer import build_optimizers
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.roi.config import PocketRoiConfig
from mattebox_backend.pocket.roi.dataset import PairSet
from mattebox_backend.pocket.roi.losses import Target, losses
from mattebox_backend.pocket.roi.network import connect, grow, untrained_copy
from mattebox_backend.pocket.seeds import step_generator
from mattebox_backend.pocket.text import token_ids
from mattebox_backend.pocket.training import Stretch, put_average

_NAME = "roi"
_STAGE = 5
"""The number of this training among those that draw from a seed."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B samples of F frames. edited, source: (B, F, C, h, w) float32. tokens: (B, L). condition: what the
    network is told.
    """

    edited: Tensor
    source: Tensor
    tokens: Tensor
    condition: RegionCondition


def train_roi(
    config: PocketRoiConfig,
    base: PocketSd,
    base_identity: str,
    data: PairSet,
    work: Path,
    on_checkpoint: Callable[[int, RegionNetwork], None] | None = None,
) -> RegionNetwork:
    """Train in `work`, or go on from the checkpoint there; returns the network with averaged weights.

    The text encoder and the autoencoder stay as they are. base_identity: of the weights that it grows from; a
    checkpoint that grew from others is refused. `on_checkpoint` gets the step and the averaged network.
    Between two runs the number of steps may change; everything else must stay.
    """
    settings = config.training
    torch.manual_seed(config.seed)
    network = grow(base.models.unet, RegionDesign(**config.design.model_dump())).train()
    connect(network)
    shape = config.model_dump(exclude={"checkpoint_every": True, "training": {"steps"}})
    stretch = Stretch(
        work / "roi.safetensors",
        fingerprint(_NAME, base_identity, shape),
        {_NAME: network},
        _optimizers(network, config),
        settings.steps,
        settings.learning_rate,
        settings.warmup,
        settings.ema,
        config.checkpoint_every,
    )

    def tell(step: int, average: dict[str, Tensor]) -> None:
        if on_checkpoint is not None:
            on_checkpoint(step, _averaged(network, average))

    features = FeatureTap(network.unet.mid_block)
    loss = _Loss(config, base, data, network, features)
    try:
        average = stretch.run(loss.of_step, RunLog(work / "progress.jsonl", _NAME, settings.steps), 0, tell)
    finally:
        features.remove()
    return _averaged(network, average)


class FeatureTap:
    """Keeps what a layer gave, φ of eq. 5.8."""

    def __init__(self, layer: nn.Module) -> None:
        self._features = torch.empty(0)
        self._hook = layer.register_forward_hook(self._keep)

    def taken(self, samples: int) -> Tensor:
        """(B·F, c, h, w) as (B, F, c, h, w)."""
        return self._features.view(samples, -1, *self._features.shape[1:])

    def remove(self) -> None:
        """Leave the layer as it was found."""
        self._hook.remove()

    def _keep(self, _: nn.Module, __: object, output: Tensor) -> None:
        self._features = output


@dataclass(frozen=True, slots=True, eq=False)
class _Loss:
    config: PocketRoiConfig
    base: PocketSd
    data: PairSet
    network: RegionNetwork
    features: FeatureTap

    def of_step(self, step: int) -> dict[str, Tensor]:
        config, settings = self.config, self.config.training
        generator = step_generator(config.seed, _STAGE, step)
        empty = token_ids(self.base.tokenizer, [""])[0]
        batch = draw_batch(self.data, config, empty, np.random.default_rng((config.seed, _STAGE, step)))
        size, frames = batch.edited.shape[:2]
        levels = stratified_levels(size, LEVELS, generator)
        flat = batch.edited.flatten(0, 1)
        noise = draw_noise(flat.shape, settings.offset_noise, generator).view_as(batch.edited)
        noisy = add_noise(batch.edited, noise, levels)
        with torch.no_grad():
            text = self.base.models.text_encoder(batch.tokens).last_hidden_state
        cells = (noisy.shape[-2], noisy.shape[-1])
        layout = CallLayout(tuple(map(str, range(size))), range(frames), cells, Reach.OWN)
        # On a CPU the fused kernel's backward pass costs more than explicit maps of so few tokens.
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16),
            sdpa_kernel(SDPBackend.MATH),
        ):
            predicted = self.network(noisy, levels.repeat_interleave(frames), text, batch.condition, layout)
        mask, kept = batch.condition.mask, kept_signal(levels)
        target = Target(noisy, noise, batch.edited, batch.source, mask, kept)
        return losses(predicted.float(), self.features.taken(size).float(), target, config.losses)


def draw_batch(data: PairSet, config: PocketRoiConfig, empty: Tensor, rng: np.random.Generator) -> Batch:
    """A batch whose masks are tight, dilated or boxes in equal shares, per sample; in some samples everything
    is masked, in some the prompt is `empty` (L,).
    """
    settings = config.data
    size = config.training.batch
    chosen, modes = rng.integers(len(data.source), size=size), rng.integers(data.masks.shape[1], size=size)
    edited, source = (
        torch.from_numpy(latents[chosen].astype(np.float32)) for latents in (data.edited, data.source)
    )
    shares = torch.from_numpy(data.masks[chosen, modes].astype(np.float32) / 255)
    words = torch.from_numpy(data.words[chosen].astype(np.float32))
    tokens = torch.from_numpy(data.tokens[chosen].astype(np.int64))
    whole = torch.from_numpy(rng.random(size) < settings.whole)
    silent = torch.from_numpy(rng.random(size) < settings.empty_prompt)
    mask = shares.amax(1).unsqueeze(2)
    mask[whole], shares[whole] = 1, 0
    words[silent], tokens[silent] = 0, empty
    known = torch.where(mask > 0, torch.zeros_like(source), source)
    # Where everything is made anew, nothing of the source is left to preserve: the edit is all there is.
    source = torch.where(whole.view(-1, 1, 1, 1, 1), edited, source)
    return Batch(edited, source, tokens, RegionCondition(mask, known, shares, words))


def _optimizers(network: RegionNetwork, config: PocketRoiConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the UNet, AdamW for its ends, for vectors, and for what is learnt beside
    it.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        ends = ("unet.conv_in", "unet.conv_out", "unet.time_embedding")
        inner = name.startswith("unet.") and not name.startswith(ends)
        (matrices if inner and parameter.ndim >= 2 else others).append(parameter)
    return build_optimizers("muon", matrices, others, config.training.learning_rate, config.losses.decay)


def _averaged(network: RegionNetwork, average: dict[str, Tensor]) -> RegionNetwork:
    copied = untrained_copy(network)
    put_average(average, _NAME, copied)
    return copied
