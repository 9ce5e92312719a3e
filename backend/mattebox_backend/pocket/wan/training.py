"""Trains the transformer and its text encoder by flow matching."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import WanTransformer3DModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import T5Tokenizer, UMT5EncoderModel

from mattebox_backend.backbones.wan import pack_mask
from mattebox_backend.diffusion.flow import shifted
from mattebox_backend.pocket.checkpoint import fingerprint
from mattebox_backend.pocket.errors import PocketError
from mattebox_backend.pocket.optimizer import build_optimizers
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import step_generator
from mattebox_backend.pocket.training import Stretch, put_average
from mattebox_backend.pocket.wan.clips import ClipSet
from mattebox_backend.pocket.wan.config import PocketWanConfig, TransformerConfig
from mattebox_backend.pocket.wan.text import build_text_encoder, text_states, token_ids
from mattebox_backend.pocket.wan.vae import LATENT_CHANNELS

FRAME_STRIDE = 4
TIMESTEPS = 1000
_STILL = 0.1
"""Energy of a latent's changes over time that counts as half a movement."""


@dataclass(frozen=True, slots=True, eq=False)
class TextToVideo:
    """A transformer with the encoder of its prompts."""

    transformer: WanTransformer3DModel
    text_encoder: UMT5EncoderModel


def build_transformer(
    config: TransformerConfig, text_width: int, picture_width: int
) -> WanTransformer3DModel:
    """An untrained transformer of Wan 2.1's image-to-video make, for texts and pictures of such widths."""
    width = config.heads * config.head_width
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=config.heads,
        attention_head_dim=config.head_width,
        in_channels=2 * LATENT_CHANNELS + FRAME_STRIDE,
        out_channels=LATENT_CHANNELS,
        text_dim=text_width,
        freq_dim=128,
        ffn_dim=config.feed_forward,
        num_layers=config.layers,
        image_dim=picture_width,
        added_kv_proj_dim=width,
    )


def train_transformer(
    config: PocketWanConfig,
    data: ClipSet,
    tokenizer: T5Tokenizer,
    work: Path,
    on_checkpoint: Callable[[int, TextToVideo], None],
    begin: Path | None = None,
) -> TextToVideo:
    """Train in ``work``, or go on from the checkpoint there; returns the averaged weights. begin: a folder of
    such a model, from whose weights the training begins instead of from random ones.

    The loss is the squared error of the velocity, over noise levels drawn evenly and shifted as in sampling
    (Wan, section 4.2), weighed by where a clip moves. ``on_checkpoint`` gets the step and the averaged
    weights at each checkpoint. Between two runs the number of steps may change; everything else must stay.
    """
    settings = config.training
    torch.manual_seed(config.seed)
    text_encoder = build_text_encoder(config.text, tokenizer)
    transformer = build_transformer(config.transformer, config.text.width, data.seen.shape[-1])
    models = {"transformer": transformer, "text": text_encoder}
    origin = "" if begin is None else _begin_at(begin, models)
    matrices, others = _split(models)
    stretch = Stretch(
        work / "transformer.safetensors",
        fingerprint(
            "wan",
            data.mark,
            config.model_dump(exclude={"checkpoint_every": True, "training": {"steps"}}),
            *([origin] if origin else []),
        ),
        models,
        build_optimizers(settings.optimizer, matrices, others, settings.learning_rate),
        settings.steps,
        settings.learning_rate,
        settings.warmup,
        settings.ema,
        config.checkpoint_every,
    )
    loss = _Loss(config, data, token_ids(tokenizer, [""])[0], transformer, text_encoder)

    def averaged(average: dict[str, Tensor]) -> TextToVideo:
        copied = {name: copy.deepcopy(model) for name, model in models.items()}
        for name, model in copied.items():
            put_average(average, name, model)
        return TextToVideo(copied["transformer"], copied["text"])

    log = RunLog(work / "progress.jsonl", "transformer", settings.steps)
    average = stretch.run(loss.of_step, log, 0, lambda step, weights: on_checkpoint(step, averaged(weights)))
    return averaged(average)


def _begin_at(folder: Path, models: dict[str, nn.Module]) -> str:
    """Give the models the weights in a model folder; what tells those from others.

    Raises `PocketError` where they are missing, or of another build.
    """
    files = {
        "transformer": folder / "transformer" / "diffusion_pytorch_model.safetensors",
        "text": folder / "text_encoder" / "model.safetensors",
    }
    marks = []
    for name, file in files.items():
        try:
            missing, unknown = models[name].load_state_dict(load_file(file), strict=False)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise PocketError(
                f"Training cannot begin at {folder}: its {file.parent.name} is missing or of another build "
                f"({str(error).splitlines()[0]}). Name a folder that this configuration made."
            ) from error
        # The encoder's embedding has two names and stands in the file under one.
        if unknown or any("embed_tokens" not in key for key in missing):
            raise PocketError(
                f"Training cannot begin at {folder}: its {file.parent.name} is of another build."
            )
        marks.append(hashlib.sha256(file.read_bytes()).hexdigest())
    return ",".join(marks)


@dataclass(frozen=True, slots=True, eq=False)
class _Loss:
    config: PocketWanConfig
    data: ClipSet
    empty: Tensor
    transformer: WanTransformer3DModel
    text_encoder: UMT5EncoderModel

    def of_step(self, step: int) -> dict[str, Tensor]:
        settings = self.config.training
        generator = step_generator(self.config.seed, 5, step)
        rng = np.random.default_rng((self.config.seed, 5, step))
        chosen = rng.integers(len(self.data.latents), size=settings.batch)
        clean, told = (_clips(rows[chosen]) for rows in (self.data.latents, self.data.told))
        cells = torch.stack([_cells(known, clean) for known in self.data.known[chosen]])
        tokens = self._tokens(chosen, rng)
        seen = torch.from_numpy(self.data.seen[chosen].astype(np.float32))
        even = (
            torch.arange(settings.batch) + torch.rand(settings.batch, generator=generator)
        ) / settings.batch
        sigmas = torch.tensor([shifted(float(one), settings.shift) for one in even]).view(-1, 1, 1, 1, 1)
        noise = torch.randn(clean.shape, generator=generator)
        noisy = (1 - sigmas) * clean + sigmas * noise
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            velocity = self.transformer(
                hidden_states=torch.cat([noisy, cells, told], dim=1),
                timestep=sigmas.flatten() * TIMESTEPS,
                encoder_hidden_states=text_states(self.text_encoder, tokens),
                encoder_hidden_states_image=seen,
                return_dict=False,
            )[0]
        error = (velocity.float() - (noise - clean)).square()
        return {"velocity_error": (error * _weights(clean, settings.motion_weight)).mean()}

    def _tokens(self, chosen: np.ndarray, rng: np.random.Generator) -> Tensor:
        forms = rng.integers(self.data.tokens.shape[1], size=len(chosen))
        tokens = torch.from_numpy(self.data.tokens[chosen, forms].astype(np.int64))
        empty = torch.from_numpy(rng.random(len(chosen)) < self.config.training.empty_prompt_share)
        return torch.where(empty.unsqueeze(1), self.empty, tokens)


def _weights(clips: Tensor, motion_weight: float) -> Tensor:
    """What the error counts at each place of latent clips (N, C, T, h, w), of mean 1: (N, 1, 1, h, w).

    What is best at a place does not hang on it, only how soon it is learnt.
    """
    changing = clips[:, :, 1:]  # the first latent frame has one picture's share, and another scale
    energy = (changing - changing.mean(dim=2, keepdim=True)).square().mean(dim=(1, 2), keepdim=True)
    weights = 1 + motion_weight * energy / (energy + _STILL)
    return weights / weights.mean()


def _clips(rows: np.ndarray) -> Tensor:
    """(N, T, C, h, w) float16 as the transformer takes it: (N, C, T, h, w) float32."""
    return torch.from_numpy(rows.astype(np.float32)).transpose(1, 2)


def _cells(known: np.ndarray, clips: Tensor) -> Tensor:
    """The packed mask (4, T, h, w) of known frames (F,)."""
    cells = torch.from_numpy(known).float().view(-1, 1, 1).expand(-1, *clips.shape[-2:])
    return pack_mask(cells, FRAME_STRIDE).transpose(0, 1)


def _split(models: dict[str, nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices inside the networks, and everything else: their ends, embeddings, norms and biases."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for model in models.values():
        for name, parameter in model.named_parameters():
            inside = name.startswith(("blocks.", "encoder.block.")) and parameter.ndim == 2
            inside = inside and "relative_attention_bias" not in name
            (matrices if inside else others).append(parameter)
    return matrices, others
