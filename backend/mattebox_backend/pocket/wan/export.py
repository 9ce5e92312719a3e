"""Writes a trained pocket-wan-i2v as a folder in diffusers' layout, loaded by the code that loads Wan 2.1."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanImageToVideoPipeline

from mattebox_backend.pocket.config import method_defaults
from mattebox_backend.pocket.export import replaced_folder
from mattebox_backend.pocket.wan.config import PocketWanConfig
from mattebox_backend.pocket.wan.sight import Sight
from mattebox_backend.pocket.wan.text import build_tokenizer
from mattebox_backend.pocket.wan.training import TextToVideo


def export_wan(
    folder: Path,
    config: PocketWanConfig,
    vae: AutoencoderKLWan,
    sight: Sight,
    models: TextToVideo,
    notes: Mapping[str, str],
) -> None:
    """Write ``folder`` with ``model_index.json``, one subfolder per component in float16, a ``mattebox.json``
    that says the length and size the model was made for, and the files of ``notes`` (name to text).

    The folder appears whole or not at all; one that stood there before is replaced.
    """
    pipeline = WanImageToVideoPipeline(
        tokenizer=build_tokenizer(),
        text_encoder=_halved(models.text_encoder),
        vae=_halved(vae),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=config.training.shift),
        image_processor=sight.processor,
        image_encoder=_halved(sight.encoder),
        transformer=_halved(models.transformer),
    )
    about = {
        **json.loads(method_defaults("pocket-wan-i2v")),
        "frames": config.frames,
        "side": config.size,
    }
    with replaced_folder(folder) as fresh:
        pipeline.save_pretrained(fresh, safe_serialization=True)
        (fresh / "mattebox.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        for name, text in notes.items():
            (fresh / name).write_text(text, encoding="utf-8")


def _halved(module: torch.nn.Module) -> torch.nn.Module:
    """A copy in float16, laid out as any reader expects."""
    copied = copy.deepcopy(module).to(torch.float16)
    for parameter in copied.parameters():
        parameter.data = parameter.data.contiguous()
    return copied
