"""Writes a trained pocket-sd as a folder in diffusers' layout: float16 safetensors, loaded by the code that
loads Stable Diffusion.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPTokenizer

from mattebox_backend.pocket.denoiser import TextToLatent, build_scheduler


def export_pocket_sd(
    folder: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer, models: TextToLatent, notes: Mapping[str, str]
) -> None:
    """Write ``folder`` with ``model_index.json``, one subfolder per component, and the files of ``notes``
    (name to text).

    The folder appears whole or not at all; one that stood there before is replaced.
    """
    pipeline = StableDiffusionPipeline(
        vae=copy.deepcopy(vae).to(torch.float16),
        text_encoder=copy.deepcopy(models.text_encoder).to(torch.float16),
        tokenizer=tokenizer,
        unet=copy.deepcopy(models.unet).to(torch.float16),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with replaced_folder(folder) as fresh:
        pipeline.save_pretrained(fresh, safe_serialization=True)
        for name, text in notes.items():
            (fresh / name).write_text(text, encoding="utf-8")


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Within the block, a new folder to fill; after it, it stands at ``folder``, whole, in place of one that
    stood there before. Nothing happens to ``folder`` where the block raises.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.replace(old)
        fresh.replace(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
