"""Words for a picture. Mask-aware LoRA (sec. 3.1) trains and samples under a caption of the first frame by
Florence-2; without its weights the user's own words stand.

Nothing here imports torch before a picture is described.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mattebox_backend.captions.request import CaptionRequest, CaptionStage, Detail, Tell

if TYPE_CHECKING:
    from mattebox_backend.device import Device
    from mattebox_backend.models.registry import ModelRegistry

__all__ = ["CaptionRequest", "CaptionStage", "Detail", "Tell", "describe"]


def describe(request: CaptionRequest, *, models: ModelRegistry, device: Device, tell: Tell) -> str:
    """The words of a captioner that is loaded for this picture and freed again: the device's memory is the
    backbone's.

    tell: told what is going on, again and again; may raise to stop. Raises `InvalidEdit` for a frame that
    is not there, the errors of the model registry, and those of `mattebox_media` for a source that cannot be
    read.
    """
    picture = request.picture if request.picture is not None else request.read_frame()
    tell(CaptionStage.LOADING)
    captioner = models.load_captioner(request.captioner, device)
    try:
        return captioner.describe(picture, request.detail, lambda: tell(CaptionStage.DESCRIBING))
    finally:
        captioner.unload()
