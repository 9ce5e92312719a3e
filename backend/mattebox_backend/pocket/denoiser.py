"""Trains the pocket denoiser (UNet) and its text encoder on the set of latents."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from mattebox_backend.pocket.checkpoint import fingerprint, read_average
from mattebox_backend.pocket.config import DenoiserConfig, PocketSdConfig
from mattebox_backend.pocket.dataset import LatentSet
from mattebox_backend.pocket.optimizer import build_optimizers
from mattebox_backend.pocket.progress import RunLog
from mattebox_backend.pocket.seeds import step_generator
from mattebox_backend.pocket.text import build_text_encoder, token_ids
from mattebox_backend.pocket.training import Stretch, put_average

LEVELS = 1000
"""Noise levels of the schedule."""
SNR_LIMIT = 5.0
"""γ of min-SNR weights: levels with a higher signal-to-noise ratio weigh no more than this one."""


@dataclass(frozen=True, slots=True, eq=False)
class TextToLatent:
    """A denoiser with the encoder of its prompts."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel


def build_denoiser(config: DenoiserConfig, context: int, latent_size: int) -> UNet2DConditionModel:
    """An untrained UNet for ``latent_size`` x ``latent_size`` latents and a text encoder that is ``context``
    wide.
    """
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=4,
        out_channels=4,
        down_block_types=tuple("CrossAttnDownBlock2D" if on else "DownBlock2D" for on in config.attention),
        up_block_types=tuple(
            "CrossAttnUpBlock2D" if on else "UpBlock2D" for on in reversed(config.attention)
        ),
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        cross_attention_dim=context,
        attention_head_dim=config.heads,  # diffusers' name for the number of heads in this class
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion 1.5 (1000 levels, scaled linear), predicting the noise."""
    return DDIMScheduler(
        num_train_timesteps=LEVELS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def draw_noise(shape: Sequence[int], offset: float, generator: torch.Generator) -> Tensor:
    """White noise of ``shape`` (N, C, h, w) float32, and with it an offset per channel of deviation
    ``offset``.

    Without that, the noisiest latents still tell the mean colour of the frame, and the denoiser never learns
    to take it from the prompt.
    """
    noise = torch.randn(shape, generator=generator)
    return noise + offset * torch.randn((*shape[:2], 1, 1), generator=generator)


def min_snr_weight(kept: Tensor) -> Tensor:
    """`min(SNR, γ) / SNR`, the weight of an error of the noise where the share `kept` (ᾱ) of the signal's
    variance is left (Hang et al., 2023, eq. 8).
    """
    ratio = kept / (1 - kept)
    return ratio.clamp(max=SNR_LIMIT) / ratio


def kept_signal(levels: Tensor) -> Tensor:
    """ᾱ, the share of the signal's variance that is left at ``levels`` (N,) of the schedule: (N,) float32."""
    return _signal()[levels]


def add_noise(clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """``clean`` (N, ...) and ``noise``, of one shape, mixed as the schedule has it at ``levels`` (N,)."""
    kept = _kept(levels, clean)
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise


def noise_error(predicted: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """The loss: mean squared error of the predicted noise (N, ...) under the min-SNR weights of ``levels``
    (N,).
    """
    return (min_snr_weight(_kept(levels, noise)) * (predicted.float() - noise).square()).mean()


def train_denoiser(
    config: PocketSdConfig,
    data: LatentSet,
    tokenizer: CLIPTokenizer,
    work: Path,
    on_checkpoint: Callable[[int, TextToLatent], None] | None = None,
) -> TextToLatent:
    """Train in ``work``, phase after phase, or go on from the last checkpoint there; returns the averaged
    weights: of each phase an exponential average, and of the last ``averaged_phases`` of these the mean.

    The loss is the error of the predicted noise with min-SNR weights (Hang et al., 2023, γ = 5). It leaves
    little to the noisiest levels, which the error of the velocity would weigh two hundred times as much. A
    model trained on that drew better and edited worse: docs/benchmark.md.

    ``on_checkpoint`` gets the step and the averaged models at each checkpoint. Between two runs phases may be
    added, and the steps of the last one may change; everything else must stay.
    """
    torch.manual_seed(config.seed + 1)
    text_encoder = build_text_encoder(config.text, tokenizer)
    unet = build_denoiser(config.denoiser, config.text.width, data.latents.shape[-1])
    unet.set_attn_processor(AttnProcessor())  # on a CPU the fused kernel's backward pass costs 1.4x a step
    training = _Training(config, data, token_ids(tokenizer, [""])[0], work, unet, text_encoder, on_checkpoint)
    phases = range(len(config.denoiser.phases))
    begun = max((number for number in phases if training.checkpoint(number).exists()), default=0)
    for number in phases[begun:]:
        training.run(number)
    ends = [training.end(number) for number in phases[-config.denoiser.averaged_phases :]]
    return _averaged(unet, text_encoder, _mean(ends))


@dataclass(frozen=True, slots=True, eq=False)
class _Training:
    """What all phases of a training share; ``empty`` holds the tokens of no prompt."""

    config: PocketSdConfig
    data: LatentSet
    empty: Tensor
    work: Path
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    on_checkpoint: Callable[[int, TextToLatent], None] | None

    def checkpoint(self, number: int) -> Path:
        """The file of a phase."""
        return self.work / f"denoiser-{number + 1}.safetensors"

    def end(self, number: int) -> dict[str, Tensor]:
        """The averaged weights at the end of a phase that has been run."""
        return read_average(self.checkpoint(number), _fingerprint(self.config, number))

    def run(self, number: int) -> None:
        """Train a phase, from its own checkpoint or from where the models stand."""
        config, settings = self.config, self.config.denoiser
        phase = settings.phases[number]
        before = sum(earlier.steps for earlier in settings.phases[:number])
        matrices, others = _split_parameters(self.unet, self.text_encoder)
        stretch = Stretch(
            self.checkpoint(number),
            _fingerprint(config, number),
            {"unet": self.unet, "text": self.text_encoder},
            build_optimizers(phase.optimizer, matrices, others, phase.learning_rate),
            phase.steps,
            phase.learning_rate,
            settings.warmup,
            settings.ema,
            config.checkpoint_every,
        )
        log = RunLog(self.work / "progress.jsonl", "denoiser", settings.steps)
        stretch.run(self._loss, log, before, self._tell)

    def _loss(self, step: int) -> dict[str, Tensor]:
        config, settings = self.config, self.config.denoiser
        rng = np.random.default_rng((config.seed, 2, step))
        generator = step_generator(config.seed, 2, step)
        latents, tokens = _batch(self.data, settings, self.empty, rng)
        levels = stratified_levels(settings.batch, LEVELS, generator)
        noise = draw_noise(latents.shape, settings.offset_noise, generator)
        noisy = add_noise(latents, noise, levels)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            context = self.text_encoder(tokens).last_hidden_state
            predicted = self.unet(noisy, levels, context).sample
        return {"noise_error": noise_error(predicted, noise, levels)}

    def _tell(self, step: int, average: dict[str, Tensor]) -> None:
        if self.on_checkpoint is not None:
            self.on_checkpoint(step, _averaged(self.unet, self.text_encoder, average))


@cache
def _signal() -> Tensor:
    return torch.as_tensor(build_scheduler().alphas_cumprod)


def _kept(levels: Tensor, like: Tensor) -> Tensor:
    """ᾱ of each level, to go with the batch of ``like``."""
    return kept_signal(levels).view(-1, *[1] * (like.ndim - 1))


def _fingerprint(config: PocketSdConfig, number: int) -> str:
    """All that the state in the middle of a phase depends on: not on later phases, nor on its own length."""
    common = config.model_dump(exclude={"checkpoint_every": True, "denoiser": {"phases", "averaged_phases"}})
    phases = [phase.model_dump() for phase in config.denoiser.phases[: number + 1]]
    phases[-1].pop("steps")
    return fingerprint("denoiser", common, phases)


def _batch(
    data: LatentSet, settings: DenoiserConfig, empty: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    chosen = rng.integers(len(data.latents), size=settings.batch)
    forms = rng.integers(data.tokens.shape[1], size=settings.batch)
    latents = torch.from_numpy(data.latents[chosen].astype(np.float32))
    tokens = torch.from_numpy(data.tokens[chosen, forms].astype(np.int64))
    tokens[torch.from_numpy(rng.random(settings.batch) < settings.empty_prompt_share)] = empty
    return latents, tokens


def stratified_levels(batch: int, levels: int, generator: torch.Generator) -> Tensor:
    """(batch,) int64: one noise level out of each of ``batch`` equally likely parts of the ``levels`` of a
    schedule, which varies less than independent draws.
    """
    place = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    return (place * levels).long().clamp(max=levels - 1)  # rounding may have reached the end


def _split_parameters(
    unet: UNet2DConditionModel, text_encoder: CLIPTextModel
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices inside the denoiser, which Muon is made for; and its two ends, the vectors, and the text
    encoder, which it is not.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in unet.named_parameters():
        inner = not name.startswith(("conv_in", "conv_out", "time_embedding"))
        (matrices if inner and parameter.ndim >= 2 else others).append(parameter)
    return matrices, [*others, *text_encoder.parameters()]


def _mean(ends: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of weights as they would ship, in half precision; one alone is left as it is."""
    if len(ends) == 1:
        return ends[0]
    return {name: torch.stack([end[name].half().float() for end in ends]).mean(dim=0) for name in ends[0]}


def _averaged(
    unet: UNet2DConditionModel, text_encoder: CLIPTextModel, average: dict[str, Tensor]
) -> TextToLatent:
    models = {"unet": copy.deepcopy(unet), "text": copy.deepcopy(text_encoder)}
    for name, module in models.items():
        put_average(average, name, module)
    return TextToLatent(models["unet"], models["text"])
