"""Trains the pocket ControlNet: a trainable copy of the frozen denoiser's encoder (Zhang et al., 2023)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from mattebox_backend.pocket.checkpoint import fingerprint, read_checkpoint, write_checkpoint
from mattebox_backend.pocket.controlnet.config import ControlNetConfig
from mattebox_backend.pocket.controlnet.dataset import EdgeSet
from mattebox_backend.pocket.denoiser import (
    build_scheduler,
    draw_noise,
    min_snr_weight,
    rate_share,
    stratified,
)
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.optimizer import Muon
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import step_generator
from mattebox_backend.pocket.text import token_ids

REPORT_EVERY = 50
_STAGE = 5
"""The number of this training among those that draw from a seed."""


def build_controlnet(unet: UNet2DConditionModel, channels: tuple[int, ...]) -> ControlNetModel:
    """An untrained ControlNet for a denoiser: a copy of its encoder that adds nothing yet.

    The layers that read the picture begin with weights under which thin lines come through: SiLU halves
    small values, and PyTorch's own choice would leave a thousandth of them, too faint to be found.
    """
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels)
    embedding = controlnet.controlnet_cond_embedding
    for layer in (embedding.conv_in, *embedding.blocks):
        nn.init.normal_(layer.weight, std=2 / layer.weight[0].numel() ** 0.5)
        nn.init.zeros_(layer.bias)
    return controlnet


def predict_noise(
    unet: UNet2DConditionModel,
    controlnet: ControlNetModel | None,
    noisy: Tensor,
    levels: Tensor,
    context: Tensor,
    conditions: Tensor,
) -> Tensor:
    """The noise in latents (N, 4, h, w) at levels (N,) under texts (N, L, C) and, where there is a
    ControlNet, condition pictures (N, 3, H, W) in [0, 1].
    """
    if controlnet is None:
        return torch.as_tensor(unet(noisy, levels, context).sample)
    down, middle = controlnet(noisy, levels, context, conditions, return_dict=False)
    return torch.as_tensor(
        unet(
            noisy,
            levels,
            context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
    )


def train_controlnet(
    config: ControlNetConfig,
    base: PocketSd,
    base_identity: str,
    data: EdgeSet,
    work: Path,
    on_checkpoint: Callable[[int, ControlNetModel], None] | None = None,
) -> ControlNetModel:
    """Train in ``work``, or go on from the checkpoint there; returns the exponentially averaged weights.

    Noise, its levels and the weights of its error are those of the base model's own training; the base is
    frozen. ``base_identity`` names its weights: another base is another training. ``on_checkpoint`` gets the
    step and the averaged model.
    """
    torch.manual_seed(config.seed)
    unet, text_encoder = base.models.unet.requires_grad_(False), base.models.text_encoder
    controlnet = build_controlnet(unet, config.conditioning_channels).train()
    for module in (unet, controlnet):  # on a CPU the fused kernel's backward pass costs 1.4x a step
        module.set_attn_processor(AttnProcessor())
    optimizers = _optimizers(controlnet, config)
    modules: dict[str, nn.Module] = {"controlnet": controlnet}
    average = {name: p.detach().clone() for name, p in controlnet.named_parameters()}
    mark = fingerprint("controlnet", base_identity, config.model_dump(exclude={"steps", "checkpoint_every"}))
    checkpoint = work / "controlnet.safetensors"
    start = read_checkpoint(checkpoint, mark, modules, optimizers, average)
    signal, empty = build_scheduler().alphas_cumprod, token_ids(base.tokenizer, [""])[0]
    log = RunLog(work / "progress.jsonl", "controlnet", config.steps)
    errors: list[float] = []
    for step in range(start, config.steps):
        rng = np.random.default_rng((config.seed, _STAGE, step))
        generator = step_generator(config.seed, _STAGE, step)
        latents, tokens, conditions = _batch(data, config, empty, rng)
        levels = stratified(config.batch, len(signal), generator)
        noise = draw_noise(latents.shape, base.offset_noise, generator)
        kept = signal[levels].view(-1, 1, 1, 1)
        noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = config.learning_rate * rate_share(step, config.warmup, config.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            with torch.no_grad():
                context = text_encoder(tokens).last_hidden_state
            predicted = predict_noise(unet, controlnet, noisy, levels, context, conditions)
        loss = (min_snr_weight(kept) * (predicted.float() - noise).square()).mean()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(controlnet.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        _update(average, controlnet, min(config.ema, (1 + step) / (10 + step)))
        errors.append(loss.item())
        if (step + 1) % REPORT_EVERY == 0 or step == start:
            log.report(step + 1, noise_error=float(np.mean(errors)))
            errors.clear()
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            write_checkpoint(checkpoint, step + 1, mark, modules, optimizers, average)
            if on_checkpoint is not None:
                on_checkpoint(step + 1, _averaged(controlnet, average))
    return _averaged(controlnet, average)


def _optimizers(controlnet: ControlNetModel, config: ControlNetConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the copied encoder; AdamW for what is new, for both ends, and for vectors."""
    inner: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in controlnet.named_parameters():
        copied = name.startswith(("down_blocks", "mid_block"))
        matrix = copied and parameter.ndim >= 2 and config.optimizer == "muon"
        (inner if matrix else others).append(parameter)
    adamw = torch.optim.AdamW(
        others, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    return [Muon(inner, config.learning_rate), adamw] if inner else [adamw]


def _batch(
    data: EdgeSet, config: ControlNetConfig, empty: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    frames = data.frames
    chosen = rng.integers(len(frames.latents), size=config.batch)
    forms = rng.integers(frames.tokens.shape[1], size=config.batch)
    latents = torch.from_numpy(frames.latents[chosen].astype(np.float32))
    tokens = torch.from_numpy(frames.tokens[chosen, forms].astype(np.int64))
    tokens[torch.from_numpy(rng.random(config.batch) < config.empty_prompt_share)] = empty
    return latents, tokens, data.conditions(chosen)


@torch.no_grad()
def _update(average: dict[str, Tensor], controlnet: ControlNetModel, decay: float) -> None:
    current = dict(controlnet.named_parameters())
    torch._foreach_lerp_(list(average.values()), [current[name] for name in average], 1 - decay)


def _averaged(controlnet: ControlNetModel, average: dict[str, Tensor]) -> ControlNetModel:
    model = copy.deepcopy(controlnet)
    model.load_state_dict(average, strict=False)
    return model.eval().requires_grad_(False)
