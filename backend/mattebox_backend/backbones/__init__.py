"""Backbones: loaded diffusion models, one file per family. Nothing here imports torch before a model is
loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mattebox_backend.errors import ModelRefused

if TYPE_CHECKING:
    from mattebox_backend.backbones.folder import ModelFolder
    from mattebox_backend.backbones.hunyuan_video import HunyuanVideo
    from mattebox_backend.backbones.protocol import Backbone
    from mattebox_backend.backbones.video_protocol import VideoBackbone
    from mattebox_backend.backbones.wan import Wan
    from mattebox_backend.device import Device

__all__ = ["load_backbone", "load_video_backbone", "outline_video_backbone"]

_VIDEO_PIPELINES = ("WanImageToVideoPipeline", "HunyuanVideoImageToVideoPipeline")


def load_backbone(
    model: Path | str, device: Device, find: Callable[[str], Path | str] | None = None
) -> Backbone:
    """Load the image model in a folder in diffusers layout, or of a hub repository that is on this machine or
    in reach.

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
    pipeline = folder.pipeline()
    if pipeline == "AnimateDiffPipeline":
        from mattebox_backend.backbones.animatediff import load_animatediff

        return load_animatediff(folder, device)
    if pipeline in _VIDEO_PIPELINES:
        raise ModelRefused(
            f"The model {folder.name} is an image-to-video model ({pipeline}) and this method runs on those "
            "that paint pictures; use one such as pocket-sd."
        )
    from mattebox_backend.backbones.stable_diffusion import StableDiffusion

    return StableDiffusion.load(folder, device)


def load_video_backbone(
    model: Path | str, device: Device, find: Callable[[str], Path | str] | None = None
) -> VideoBackbone:
    """Load an image-to-video model; as `load_backbone` in all else."""
    from mattebox_backend.backbones.folder import ModelFolder

    folder = ModelFolder.open(model, find)
    return _video_family(folder).load(folder, device)


def outline_video_backbone(model: Path | str, device: Device) -> VideoBackbone:
    """An image-to-video model from its configuration files alone: see `VideoBackbone`. Nothing is fetched.

    Raises `ModelRefused` for a family that is not known and for files that are damaged; `UnknownModel` for a
    model that is not on this machine.
    """
    from mattebox_backend.backbones.folder import ModelFolder

    folder = ModelFolder.open_configuration(model)
    return _video_family(folder).outline(folder, device)


def _video_family(folder: ModelFolder) -> type[Wan | HunyuanVideo]:
    pipeline = folder.pipeline()
    if pipeline in ("WanImageToVideoPipeline", "WanPipeline"):
        from mattebox_backend.backbones.wan import Wan

        return Wan
    if pipeline in ("HunyuanVideoImageToVideoPipeline", "HunyuanVideoPipeline"):
        from mattebox_backend.backbones.hunyuan_video import HunyuanVideo

        return HunyuanVideo
    raise ModelRefused(
        f"The model {folder.name} is a {pipeline}, and this method runs on image-to-video models; use "
        "pocket-wan-i2v, or another one of Wan 2.1's or HunyuanVideo's make."
    )
