"""Training configuration of `pocket-roi`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from mattebox_backend.pocket.config import Section, read_config


class DesignConfig(Section):
    """Which mechanisms the network has; see `RegionDesign`."""

    mask_channel: bool = True
    two_paths: bool = True
    experts: bool = True
    self_bias: bool = True
    routing: bool = True
    pyramid: bool = True


class LossConfig(Section):
    """Weights of the losses (region-of-interest-aware diffusion, table 6); 0 leaves one out.

    region, background: λ_roi and λ_bg of the noise error (eqs. 5.2–5.4). normalised: per picture, the weights
    of its places sum to one (eq. 5.10), so that a small region counts as much as a large one. edit, preserve:
    η of the ℓ1 errors of the clean latents, inside against the true edit and outside against the source (eqs.
    5.5, 5.6). temporal: η of the change of features from a frame to the next, weighted by the mask (eq. 5.8).
    decay: η of the decay of weights, as the optimizer does it.
    """

    region: float = Field(default=2.0, ge=0)
    background: float = Field(default=1.0, ge=0)
    normalised: bool = True
    edit: float = Field(default=0.1, ge=0)
    preserve: float = Field(default=0.05, ge=0)
    temporal: float = Field(default=0.001, ge=0)
    decay: float = Field(default=0.01, ge=0)


class DataConfig(Section):
    """scenes: pairs of a scene and its edit, each seen in two frames that follow one another. whole: share of
    the samples in which everything is masked and nothing known, which keeps the model a painter of whole
    pictures. empty_prompt: share of the samples without a prompt, for guidance.
    """

    scenes: int = Field(default=6000, gt=0)
    whole: float = Field(default=0.1, ge=0, le=1)
    empty_prompt: float = Field(default=0.1, ge=0, le=1)


class TrainingConfig(Section):
    """batch: samples of two frames. The learning rate falls linearly to 0."""

    steps: int = Field(default=4000, gt=0)
    batch: int = Field(default=8, gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    warmup: int = Field(default=100, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    offset_noise: float = Field(default=0.1, ge=0)
    bfloat16: bool = True


class PocketRoiConfig(Section):
    """Everything that decides the weights of `pocket-roi`, beside the model that it grows from."""

    seed: int = 2027
    checkpoint_every: int = Field(default=250, gt=0)
    design: DesignConfig = DesignConfig()
    losses: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()


def load_roi_config(path: Path | None = None) -> PocketRoiConfig:
    """Read the configuration at `path`, or the one that ships. Raises
    :class:`~mattebox_backend.pocket.errors.InvalidConfig`.
    """
    return read_config(PocketRoiConfig, path, "pocket-roi")
