"""Backbones: loaded diffusion models, one file per family. Nothing here imports torch before a model is
loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mattebox_backend.backbones.protocol import Backbone
    from mattebox_backend.device import Device

__all__ = ["load_backbone"]


def load_backbone(
    model: Path | str, device: Device, find: Callable[[str], Path | str] | None = None
) -> Backbone:
    """Load the model in a folder in diffusers layout, or of a hub repository that is on this machine or in
    reach.

    find: where a model lies that another one is built on and that does not lie beside it, by the name that
    this one gives it; it raises `UnknownModel` for one that it does not know.

    Raises `ModelRefused` for a family that is not known, for weights that are not safetensors, and for
    files that are damaged; `UnknownModel` for a hub repository that cannot be had.
    """
    from mattebox_backend.backbones.folder import ModelFolder

    folder = ModelFolder.open(model, find)
    if (folder.path / "region").is_dir():
        from mattebox_backend.backbones.region_diffusion import RegionDiffusion

        return RegionDiffusion.load(folder, device)
    if folder.pipeline() == "AnimateDiffPipeline":
        from mattebox_backend.backbones.animatediff import load_animatediff

        return load_animatediff(folder, device)
    from mattebox_backend.backbones.stable_diffusion import StableDiffusion

    return StableDiffusion.load(folder, device)
