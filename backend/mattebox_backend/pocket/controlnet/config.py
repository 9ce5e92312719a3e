"""Training configuration of ``pocket-controlnet``, read from TOML; unknown keys are refused."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mattebox_backend.pocket.errors import InvalidConfig


class ControlNetConfig(BaseModel):
    """Everything that decides the weights beside the base model.

    ``conditioning_channels``: of the layers that bring the condition picture down to the size of the latents,
    one more than it is halved. ``empty_prompt_share``: how often a frame comes without its caption, so that
    its shapes have to be told from the condition alone (Zhang et al., 2023, section 3.3).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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


def shipped_config() -> str:
    """The TOML of the configuration that ships."""
    return (files("mattebox_backend.pocket") / "pocket-controlnet.toml").read_text(encoding="utf-8")


def load_config(path: Path | None = None) -> tuple[ControlNetConfig, str]:
    """The configuration at ``path``, or the one that ships, and its text. Raises :class:`InvalidConfig` that
    names the key at fault.
    """
    try:
        text = shipped_config() if path is None else path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidConfig(
            f"The configuration {path} cannot be read ({error.strerror}); name a TOML file."
        ) from error
    try:
        return ControlNetConfig.model_validate(tomllib.loads(text)), text
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"The configuration {path} is no valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidConfig(
            f"The configuration {path} has a wrong value at '{key}': {first['msg']}."
        ) from error
