"""Trains `pocket-roi` on pairs of the world, from pocket-sd's weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mattebox_backend.attention import CallLayout, Reach
from mattebox_backend.backbones.region_network import RegionCondition, RegionDesign, RegionNetwork
from mattebox_backend.pocket.checkpoint import fingerprint, read_checkpoint, write_checkpoint
from mattebox_backend.pocket.denoiser import build_scheduler, draw_noise
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.optimizer import Muon
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.roi.config import PocketRoiConfig
from mattebox_backend.pocket.roi.dataset import PairSet
from mattebox_backend.pocket.roi.losses import Target, losses
from mattebox_backend.pocket.roi.network import connect, grow, with_weights
from mattebox_backend.pocket.seeds import step_generator
from mattebox_backend.pocket.text import token_ids

REPORT_EVERY = 25
_STAGE = 5


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
    """
    settings = config.training
    torch.manual_seed(config.seed)
    network = grow(base.models.unet, RegionDesign(**config.design.model_dump()))
    connect(network)
    features = FeatureTap(network.unet.mid_block)
    modules: dict[str, nn.Module] = {"network": network}
    optimizers = _optimizers(network, config)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    mark = fingerprint("roi", base_identity, config.model_dump(exclude={"checkpoint_every"}))
    checkpoint = work / "roi.safetensors"
    start = read_checkpoint(checkpoint, mark, modules, optimizers, average)
    if start == settings.steps:
        return with_weights(network, average)
    empty = token_ids(base.tokenizer, [""])[0]
    signal = build_scheduler().alphas_cumprod
    log = RunLog(work / "progress.jsonl", "roi", settings.steps)
    seen: list[dict[str, float]] = []
    network.train()
    for step in range(start, settings.steps):
        rng = np.random.default_rng((config.seed, _STAGE, step))
        generator = step_generator(config.seed, _STAGE, step)
        batch = draw_batch(data, config, empty, rng)
        size, frames = batch.edited.shape[:2]
        levels = _stratified(size, len(signal), generator)
        noise = draw_noise(
            (size * frames, *batch.edited.shape[2:]), settings.offset_noise, generator
        ).view_as(batch.edited)
        kept = signal[levels]
        share = kept.view(-1, 1, 1, 1, 1)
        noisy = share.sqrt() * batch.edited + (1 - share).sqrt() * noise
        with torch.no_grad():
            text = base.models.text_encoder(batch.tokens).last_hidden_state
        layout = CallLayout(
            tuple(map(str, range(size))), range(frames), (noisy.shape[-2], noisy.shape[-1]), Reach.OWN
        )
        # On a CPU the fused kernel's backward pass costs more than explicit maps of so few tokens.
        with (
            torch.autocast("cpu", torch.bfloat16) if settings.bfloat16 else nullcontext(),
            sdpa_kernel(SDPBackend.MATH),
        ):
            predicted = network(noisy, levels.repeat_interleave(frames), text, batch.condition, layout)
        target = Target(noisy, noise, batch.edited, batch.source, batch.condition.mask, kept)
        terms = losses(predicted.float(), features.taken(size).float(), target, config.losses)
        loss = torch.stack(list(terms.values())).sum()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        rate = settings.learning_rate * _rate(step, settings.warmup, settings.steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        _update(average, network, min(settings.ema, (1 + step) / (10 + step)))
        seen.append({name: term.item() for name, term in terms.items()})
        if (step + 1) % REPORT_EVERY == 0 or step == start:
            log.report(step + 1, **{name: float(np.mean([s[name] for s in seen])) for name in seen[0]})
            seen.clear()
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == settings.steps:
            write_checkpoint(checkpoint, step + 1, mark, modules, optimizers, average)
            if on_checkpoint is not None:
                on_checkpoint(step + 1, with_weights(network, average))
    features.remove()
    return with_weights(network, average)


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
    rate = config.training.learning_rate
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        ends = ("unet.conv_in", "unet.conv_out", "unet.time_embedding")
        inner = name.startswith("unet.") and not name.startswith(ends)
        (matrices if inner and parameter.ndim >= 2 else others).append(parameter)
    return [
        Muon(matrices, rate),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), weight_decay=config.losses.decay, fused=True),
    ]


def _stratified(batch: int, levels: int, generator: torch.Generator) -> Tensor:
    """One noise level out of each of `batch` equally likely parts of the schedule."""
    place = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    return (place * levels).long().clamp(max=levels - 1)


def _rate(step: int, warmup: int, steps: int) -> float:
    return min(1.0, (step + 1) / max(1, warmup)) * max(0.0, 1 - step / steps)


@torch.no_grad()
def _update(average: dict[str, Tensor], network: RegionNetwork, decay: float) -> None:
    current = network.state_dict()
    names = list(average)
    torch._foreach_lerp_([average[n] for n in names], [current[n] for n in names], 1 - decay)
