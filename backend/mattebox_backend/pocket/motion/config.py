"""Training configuration of ``pocket-motion``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mattebox_backend.pocket.config import Section, read_config


class AdapterConfig(Section):
    """The motion modules: how many frames they reach over, and their attention heads."""

    frames: int = Field(default=16, gt=1)
    heads: int = Field(default=4, gt=0)


class TrainingConfig(Section):
    """Training on ``batch`` clips a step. The learning rate falls linearly to 0 after ``warmup`` steps; what
    comes out is the exponential average (``ema``) of the weights.
    """

    steps: int = Field(default=4000, gt=0)
    batch: int = Field(default=2, gt=0)
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=100, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    empty_prompt_share: float = Field(default=0.1, ge=0, le=1)
    reversed_share: float = Field(default=0.5, ge=0, le=1)
    bfloat16: bool = False


class PocketMotionConfig(Section):
    """Everything that decides the weights of ``pocket-motion``, but for the versions of the code and of its
    libraries.

    base: the model that is set in motion, as an edit would name it; it is frozen. clips: of the training set.
    """

    seed: int = 2027
    base: str = "pocket-sd"
    clips: int = Field(default=1800, gt=0)
    checkpoint_every: int = Field(default=400, gt=0)
    adapter: AdapterConfig = AdapterConfig()
    training: TrainingConfig = TrainingConfig()


def load_motion_config(path: Path | None = None) -> PocketMotionConfig:
    """Read the configuration at ``path``, or the one that ships. Raises
    :class:`~mattebox_backend.pocket.errors.InvalidConfig`.
    """
    return read_config(PocketMotionConfig, path, "pocket-motion")
