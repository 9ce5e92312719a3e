from __future__ import annotations

from pathlib import Path

import pytest
from mattebox_backend.pocket.config import DenoiserConfig, Phase, PocketSdConfig, TextConfig, VaeConfig

TINY_TOML = """
seed = 5
size = 32
checkpoint_every = 2

[vae]
channels = [8, 8, 8, 8]
pool = 8
steps = 3
cycle = 3
crop_steps = 1
crop = 16
crop_batch = 2
frame_batch = 2

[text]
width = 16
layers = 1
heads = 2
length = 32

[denoiser]
channels = [16, 16]
attention = [true, true]
heads = 2
train_frames = 12
batch = 4
warmup = 1

[[denoiser.phases]]
optimizer = "adamw"
steps = 2

[[denoiser.phases]]
steps = 3
"""


@pytest.fixture
def tiny() -> PocketSdConfig:
    return PocketSdConfig(
        seed=5,
        size=32,
        checkpoint_every=2,
        vae=VaeConfig(
            channels=(8, 8, 8, 8),
            pool=8,
            steps=3,
            cycle=3,
            crop_steps=1,
            crop=16,
            crop_batch=2,
            frame_batch=2,
        ),
        text=TextConfig(width=16, layers=1, heads=2, length=32),
        denoiser=DenoiserConfig(
            channels=(16, 16),
            attention=(True, True),
            heads=2,
            train_frames=12,
            phases=(Phase(optimizer="adamw", steps=2), Phase(steps=3)),
            batch=4,
            warmup=1,
        ),
    )


@pytest.fixture
def tiny_toml(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_TOML, encoding="utf-8")
    return path
