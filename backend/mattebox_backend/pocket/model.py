"""A pocket model in memory, and how it is read from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from mattebox_backend.pocket.config import load_config
from mattebox_backend.pocket.denoiser import TextToLatent
from mattebox_backend.pocket.errors import PocketError


@dataclass(frozen=True, slots=True, eq=False)
class PocketSd:
    """A loaded pocket model; ``offset_noise`` is that of the noise it was trained on."""

    vae: AutoencoderKL
    tokenizer: CLIPTokenizer
    models: TextToLatent
    offset_noise: float

    @property
    def pixels(self) -> int:
        """The side of the frames that it works at."""
        reduction = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return int(self.models.unet.config.sample_size * reduction)


def load_pocket_sd(folder: Path) -> PocketSd:
    """Load ``folder`` (diffusers layout, with its training.toml) in float32, without network. Raises
    :class:`PocketError` when it is no such folder.
    """
    if not (folder / "model_index.json").is_file():
        raise PocketError(
            f"{folder} holds no model_index.json; name a folder that mattebox-train pocket-sd wrote."
        )
    local = {"local_files_only": True}
    return PocketSd(
        AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32, **local),
        CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", **local),
        TextToLatent(
            UNet2DConditionModel.from_pretrained(
                folder, subfolder="unet", torch_dtype=torch.float32, **local
            ),
            CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=torch.float32, **local),
        ),
        load_config(folder / "training.toml").denoiser.offset_noise,
    )
