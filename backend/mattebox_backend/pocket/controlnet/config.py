"""Training configuration of ``pocket-controlnet``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mattebox_backend.pocket.config import Section, read_config


class ControlNetConfig(Section):
    """Everything that decides the weights beside the base model.

    ``conditioning_channels``: of the layers that bring the condition picture down to the size of the latents,
    one more than it is halved. ``empty_prompt_share``: how often a frame comes without its caption, so that
    its shapes have to be told from the condition alone (Zhang et al., 2023, section 3.3).
    """

    seed: int = 2026
    train_frames: int = Field(default=32000, gt=0)
    conditioning_channels: tuple[int, ...] = Field(default=(8, 16, 32, 48), min_length=1)
    optimizer: Literal["adamw", "muon"] = "muon"
    steps: int = Field(default=5000, gt=0)
    learning_rate: float = Field(default=7e-4, gt=0)
    batch: int = Field(default=16, gt=0)
    warmup: int = Field(default=100, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    empty_prompt_share: float = Field(default=0.3, ge=0, le=1)
    bfloat16: bool = False
    checkpoint_every: int = Field(default=250, gt=0)


def load_controlnet_config(path: Path | None = None) -> ControlNetConfig:
    """Read the configuration at ``path``, or the one that ships. Raises
    :class:`~mattebox_backend.pocket.errors.InvalidConfig`.
    """
    return read_config(ControlNetConfig, path, "pocket-controlnet")
