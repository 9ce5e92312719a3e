"""The recipe of each method of this version; apart from the registry because a recipe needs torch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mattebox_backend.methods.custom import custom
from mattebox_backend.methods.mask_lora import mask_lora
from mattebox_backend.methods.materials import Materials
from mattebox_backend.methods.reatco import reatco
from mattebox_backend.methods.roi_aware import roi_aware
from mattebox_backend.methods.st_modulator import st_modulator
from mattebox_backend.methods.video_materials import VideoMaterials
from mattebox_backend.methods.videodirector import videodirector

RECIPES: Mapping[str, Callable[[Materials, Any], torch.Tensor]] = MappingProxyType(
    {
        "st-modulator": st_modulator,
        "reatco": reatco,
        "videodirector": videodirector,
        "roi-aware": roi_aware,
        "custom": custom,
    }
)
"""By method name, of those on models of frames: materials and parsed parameters → clean latents (F, C, h, w).
"""

VIDEO_RECIPES: Mapping[str, Callable[[VideoMaterials, Any], Generator[NDArray[np.float32]]]] = (
    MappingProxyType({"mask-lora": mask_lora})
)
"""By method name, of those on image-to-video models: materials and parsed parameters → frames (H, W, 3) in
[0, 1], one by one.
"""
