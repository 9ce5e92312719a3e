"""Training configuration of ``pocket-wan-i2v``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mattebox_backend.pocket.config import Section, read_config


class Crops(Section):
    """What one step of the autoencoder's training sees: ``count`` crops of ``frames`` frames of ``side`` x
    ``side`` pixels (0: whole pictures).
    """

    frames: int = Field(gt=0)
    count: int = Field(gt=0)
    side: int = Field(ge=0, multiple_of=8)


class VideoVaeConfig(Section):
    """The causal video autoencoder, and its training: its steps go through ``crops`` in turn, the last
    ``whole_steps`` of them through ``whole``. Single frames are many pictures for little work; only three
    latent frames in a row, nine frames, use all of the network's memory of what came before. Then
    ``long_steps`` go through ``long``: what is only ever trained on less than the clips that it will see
    loses its colours towards their ends.

    channels: of the finest level; multiples: of it, per level. pool: clips that the crops are taken from.
    """

    channels: int = 16
    multiples: tuple[int, ...] = (1, 2, 4, 4)
    layers: int = 1
    pool: int = Field(default=800, gt=0)
    steps: int = Field(default=2600, gt=0)
    crops: tuple[Crops, ...] = (
        Crops(frames=1, count=24, side=64),
        Crops(frames=5, count=8, side=64),
        Crops(frames=1, count=24, side=64),
        Crops(frames=9, count=4, side=64),
    )
    whole_steps: int = Field(default=300, ge=0)
    whole: tuple[Crops, ...] = (Crops(frames=5, count=2, side=0), Crops(frames=9, count=1, side=0))
    optimizer: Literal["adamw", "muon"] = "muon"
    learning_rate: float = Field(default=2e-3, gt=0)
    kl_weight: float = Field(default=1e-4, ge=0)
    long_steps: int = Field(default=0, ge=0)
    long: tuple[Crops, ...] = (Crops(frames=17, count=2, side=64),)
    long_learning_rate: float = Field(default=1e-3, gt=0)


class TextConfig(Section):
    """The UMT5 encoder."""

    width: int = 96
    layers: int = 2
    heads: int = 4


class TransformerConfig(Section):
    """The Wan transformer."""

    heads: int = 5
    head_width: int = 32
    layers: int = 6
    feed_forward: int = 640


class ConditionShares(Section):
    """How often the model is told what of a clip while it learns: Wan's own tasks (Wan, section 5.1), all of
    them frame by frame. ``first``: the first frame; ``beginning``: the first two to eight; ``ends``: the
    first and the last; ``some``: each frame with a chance of its own.
    """

    first: float = Field(default=0.7, ge=0)
    beginning: float = Field(default=0.1, ge=0)
    ends: float = Field(default=0.1, ge=0)
    some: float = Field(default=0.1, ge=0)


class TrainingConfig(Section):
    """Training on ``batch`` clips a step. The learning rate falls linearly to 0 after ``warmup`` steps; what
    comes out is the exponential average (``ema``) of the weights. shift: of the noise levels, as in sampling.
    motion_weight: how much more the error counts where a clip moves, which is the lesser and the harder part
    of most pictures.
    """

    steps: int = Field(default=8000, gt=0)
    batch: int = Field(default=4, gt=0)
    optimizer: Literal["adamw", "muon"] = "muon"
    learning_rate: float = Field(default=1.5e-3, gt=0)
    warmup: int = Field(default=100, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    empty_prompt_share: float = Field(default=0.1, ge=0, le=1)
    shift: float = Field(default=3.0, gt=0)
    motion_weight: float = Field(default=0.0, ge=0)
    bfloat16: bool = True


class PocketWanConfig(Section):
    """Everything that decides the weights of ``pocket-wan-i2v``, but for the versions of the code and of its
    libraries.

    scorer: the CLIP whose picture tower the model sees its first frame with; it is frozen. clips: of the
    training set. frames: of a clip, 4k + 1.
    """

    seed: int = 2028
    size: int = Field(default=128, multiple_of=16)
    frames: int = Field(default=17, gt=1)
    scorer: str = "pocket-score"
    clips: int = Field(default=3000, gt=0)
    checkpoint_every: int = Field(default=250, gt=0)
    vae: VideoVaeConfig = VideoVaeConfig()
    text: TextConfig = TextConfig()
    transformer: TransformerConfig = TransformerConfig()
    conditions: ConditionShares = ConditionShares()
    training: TrainingConfig = TrainingConfig()


def load_wan_config(path: Path | None = None) -> PocketWanConfig:
    """Read the configuration at ``path``, or the one that ships. Raises
    :class:`~mattebox_backend.pocket.errors.InvalidConfig`.
    """
    return read_config(PocketWanConfig, path, "pocket-wan-i2v")
