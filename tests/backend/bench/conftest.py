from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mattebox_backend.pocket.config import DenoiserConfig, TextConfig, VaeConfig
from mattebox_backend.pocket.denoiser import TextToLatent, build_denoiser
from mattebox_backend.pocket.export import export_pocket_sd
from mattebox_backend.pocket.text import build_text_encoder
from mattebox_backend.pocket.tokenizer import build_tokenizer
from mattebox_backend.pocket.vae import build_vae


@pytest.fixture(scope="session")
def untrained_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of the right kind, with random weights: small and quick, and no good at editing."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(40)
    text = build_text_encoder(TextConfig(width=16, layers=1, heads=2, length=40), tokenizer)
    unet = build_denoiser(DenoiserConfig(channels=(16, 16), attention=(True, True), heads=2), 16, 16)
    vae = build_vae(VaeConfig(channels=(8, 8, 8, 8)), 128)
    folder = tmp_path_factory.mktemp("models") / "untrained"
    export_pocket_sd(folder, vae, tokenizer, TextToLatent(unet, text), {})
    return folder
