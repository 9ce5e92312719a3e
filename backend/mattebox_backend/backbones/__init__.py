"""Backbones: loaded diffusion models, one file per family. Nothing here imports torch before a model is
loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mattebox_backend.backbones.protocol import Backbone
    from mattebox_backend.device import Device

__all__ = ["load_backbone"]


def load_backbone(model: Path | str, device: Device) -> Backbone:
    """Load the model in a folder in diffusers layout, or of a hub repository that is on this machine or in
    reach.

    Raises `ModelRefused` for a family that is not known, for weights that are not safetensors, and for
    files that are damaged; `UnknownModel` for a hub repository that cannot be had.
    """
    from mattebox_backend.backbones.folder import ModelFolder
    from mattebox_backend.backbones.region_diffusion import RegionDiffusion
    from mattebox_backend.backbones.stable_diffusion import StableDiffusion

    folder = ModelFolder.open(model)
    if (folder.path / "region").is_dir():
        return RegionDiffusion.load(folder, device)
    return StableDiffusion.load(folder, device)
