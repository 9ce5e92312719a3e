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

from mattebox_backend.pocket.checkpoint import fingerprint
from mattebox_backend.pocket.controlnet.config import ControlNetConfig
from mattebox_backend.pocket.controlnet.dataset import EdgeSet
from mattebox_backend.pocket.denoiser import (
    LEVELS,
    add_noise,
    draw_noise,
    noise_error,
    stratified_levels,
)
from mattebox_backend.pocket.model import PocketSd
from mattebox_backend.pocket.optimizer import build_optimizers
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import step_generator
from mattebox_backend.pocket.text import token_ids
from mattebox_backend.pocket.training import Stretch, put_average

_NAME = "controlnet"
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
    empty = token_ids(base.tokenizer, [""])[0]

    def loss(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((config.seed, _STAGE, step))
        generator = step_generator(config.seed, _STAGE, step)
        latents, tokens, conditions = _batch(data, config, empty, rng)
        levels = stratified_levels(config.batch, LEVELS, generator)
        noise = draw_noise(latents.shape, base.offset_noise, generator)
        noisy = add_noise(latents, noise, levels)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            with torch.no_grad():
                context = text_encoder(tokens).last_hidden_state
            predicted = predict_noise(unet, controlnet, noisy, levels, context, conditions)
        return {"noise_error": noise_error(predicted, noise, levels)}

    def tell(step: int, average: dict[str, Tensor]) -> None:
        if on_checkpoint is not None:
            on_checkpoint(step, _averaged(controlnet, average))

    stretch = Stretch(
        work / "controlnet.safetensors",
        fingerprint(_NAME, base_identity, config.model_dump(exclude={"steps", "checkpoint_every"})),
        {_NAME: controlnet},
        _optimizers(controlnet, config),
        config.steps,
        config.learning_rate,
        config.warmup,
        config.ema,
        config.checkpoint_every,
    )
    average = stretch.run(loss, RunLog(work / "progress.jsonl", _NAME, config.steps), 0, tell)
    return _averaged(controlnet, average)


def _optimizers(controlnet: ControlNetModel, config: ControlNetConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the copied encoder; AdamW for what is new, for both ends, and for vectors."""
    inner: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in controlnet.named_parameters():
        copied = name.startswith(("down_blocks", "mid_block"))
        (inner if copied and parameter.ndim >= 2 else others).append(parameter)
    return build_optimizers(config.optimizer, inner, others, config.learning_rate)


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


def _averaged(controlnet: ControlNetModel, average: dict[str, Tensor]) -> ControlNetModel:
    model = copy.deepcopy(controlnet)
    put_average(average, _NAME, model)
    return model
