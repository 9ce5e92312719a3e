"""Training configuration of ``pocket-score``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from mattebox_backend.pocket.config import Section, TextConfig, read_config


class VisionConfig(Section):
    """Vision tower: pictures of ``size`` × ``size`` pixels in patches of ``patch`` × ``patch``."""

    size: int = Field(default=40, gt=0)
    patch: int = Field(default=4, gt=0)
    width: int = Field(default=64, gt=0, multiple_of=4)
    layers: int = Field(default=3, gt=0)
    heads: int = Field(default=4, gt=0)

    @model_validator(mode="after")
    def _whole_patches(self) -> Self:
        if self.size % self.patch:
            raise ValueError(f"a side of {self.size} pixels is no whole number of patches of {self.patch}")
        return self


class SetConfig(Section):
    """The set: scenes, and for each caption of a picture how many wrong ones are kept beside it.

    ``soft_share``: how many pictures are blurred and noisy, as an editor's results are and true renders not.
    """

    scenes: int = Field(default=12000, gt=0)
    wrong: int = Field(default=6, gt=0)
    soft_share: float = Field(default=0.35, ge=0, le=1)


class TrainingConfig(Section):
    """Training on ``batch`` pictures a step, each with one right caption and ``wrong`` wrong ones of its own.

    ``attribute_weight``: of the classifier's error beside the contrastive one; ``dense_weight``: of the error
    of what every patch says that it shows. The learning rate falls
    linearly to 0 after ``warmup`` steps; what comes out is the exponential average (``ema``) of the weights.
    """

    steps: int = Field(default=5000, gt=0)
    batch: int = Field(default=64, gt=1)
    wrong: int = Field(default=2, gt=0)
    attribute_weight: float = Field(default=0.5, ge=0)
    dense_weight: float = Field(default=1.0, ge=0)
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup: int = Field(default=100, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    bfloat16: bool = False


class PocketScoreConfig(Section):
    """Everything that decides the weights of ``pocket-score``, but for the versions of the code and of its
    libraries.

    embedding: the width that both towers are projected to.
    """

    seed: int = 2028
    checkpoint_every: int = Field(default=250, gt=0)
    embedding: int = Field(default=64, gt=0)
    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    set: SetConfig = SetConfig()
    training: TrainingConfig = TrainingConfig()


def load_score_config(path: Path | None = None) -> PocketScoreConfig:
    """Read the configuration at ``path``, or the one that ships. Raises
    :class:`~mattebox_backend.pocket.errors.InvalidConfig`.
    """
    return read_config(PocketScoreConfig, path, "pocket-score")
