"""Training configuration of pocket-sd, and how that of any pocket model is read from TOML: unknown keys are
refused.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mattebox_backend.pocket.errors import InvalidConfig

_Config = TypeVar("_Config", bound=BaseModel)


class Section(BaseModel):
    """A table of a configuration: fixed once it is read, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VaeConfig(Section):
    """Autoencoder: its channels and its training. ``crop`` pixels are used for the first ``crop_steps`` of
    every ``cycle`` steps, whole frames after.
    """

    channels: tuple[int, ...] = (16, 32, 64, 64)
    pool: int = Field(default=4096, gt=0)
    steps: int = Field(default=3000, gt=0)
    cycle: int = Field(default=1500, gt=0)
    crop_steps: int = Field(default=1000, ge=0)
    crop: int = Field(default=64, gt=0, multiple_of=8)
    crop_batch: int = Field(default=32, gt=0)
    frame_batch: int = Field(default=8, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    kl_weight: float = Field(default=2e-4, ge=0)


class TextConfig(Section):
    """Text encoder."""

    width: int = 96
    layers: int = 2
    heads: int = 4
    length: int = Field(default=40, ge=8)


class Phase(Section):
    """A stretch of training with an optimizer of its own; the learning rate falls linearly to 0 over it."""

    optimizer: Literal["adamw", "muon"] = "muon"
    steps: int = Field(default=9000, gt=0)
    learning_rate: float = Field(default=1.5e-3, gt=0)


class DenoiserConfig(Section):
    """UNet, the set of latents it is trained on, and its training with the text encoder.

    ``offset_noise``: deviation of a noise that is constant over each channel of a frame. ``phases`` follow
    one another; ``warmup`` steps at the beginning of each have a smaller learning rate. The weights that come
    out are the mean over the ends of the last ``averaged_phases`` phases, each as it would ship (stochastic
    weight averaging, Izmailov et al., 2018): it edits better than each of them.
    """

    channels: tuple[int, ...] = (64, 128, 128)
    attention: tuple[bool, ...] = (True, True, True)
    layers: int = 1
    heads: int = 4
    train_frames: int = Field(default=24000, gt=0)
    phases: tuple[Phase, ...] = Field(default=(Phase(),), min_length=1)
    averaged_phases: int = Field(default=1, ge=1)
    batch: int = Field(default=16, gt=0)
    warmup: int = Field(default=100, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    empty_prompt_share: float = Field(default=0.1, ge=0, le=1)
    offset_noise: float = Field(default=0.0, ge=0)
    bfloat16: bool = False

    @model_validator(mode="after")
    def _there_are_phases_to_average(self) -> Self:
        if self.averaged_phases > len(self.phases):
            raise ValueError(
                f"{self.averaged_phases} phases are to be averaged, but there are {len(self.phases)}"
            )
        return self

    @property
    def steps(self) -> int:
        """Of all phases."""
        return sum(phase.steps for phase in self.phases)


class PocketSdConfig(Section):
    """Everything that decides the weights of ``pocket-sd``, but for the versions of the code and of its
    libraries.
    """

    seed: int = 2026
    size: int = Field(default=128, multiple_of=8)
    checkpoint_every: int = Field(default=500, gt=0)
    vae: VaeConfig = VaeConfig()
    text: TextConfig = TextConfig()
    denoiser: DenoiserConfig = DenoiserConfig()


def shipped_config(model: str = "pocket-sd") -> str:
    """The TOML of the configuration of a shipped model."""
    return (files("mattebox_backend.pocket") / f"{model}.toml").read_text(encoding="utf-8")


def method_defaults(model: str = "pocket-sd") -> str:
    """JSON that a shipped model carries as ``mattebox.json``: each method's parameters that it does best
    with.
    """
    return (files("mattebox_backend.pocket") / f"{model}.methods.json").read_text(encoding="utf-8")


def load_config(path: Path | None = None) -> PocketSdConfig:
    """Read the configuration of ``pocket-sd`` at ``path``, or the one that ships; see :func:`read_config`."""
    return read_config(PocketSdConfig, path, "pocket-sd")


def read_config(kind: type[_Config], path: Path | None, model: str) -> _Config:
    """Read the configuration at ``path``, or the one that ships for ``model``. Raises
    :class:`InvalidConfig` that names the key at fault.
    """
    try:
        text = shipped_config(model) if path is None else path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidConfig(
            f"The configuration {path} cannot be read ({error.strerror}); name a TOML file."
        ) from error
    try:
        return kind.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"The configuration {path} is no valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidConfig(
            f"The configuration {path} has a wrong value at '{key}': {first['msg']}."
        ) from error
