"""The picture half of a CLIP, which the model sees its first frame with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPVisionModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mattebox_backend.errors import UnknownModel
from mattebox_backend.models.registry import ModelRegistry
from mattebox_backend.pocket.errors import PocketError


@dataclass(frozen=True, slots=True)
class Sight:
    """The picture half of a CLIP, and how it wants pictures."""

    encoder: CLIPVisionModel
    processor: Any

    @torch.no_grad()
    def states(self, pictures: NDArray[np.uint8]) -> torch.Tensor:
        """(N, L, C) states before its last layer, as Wan reads them, of pictures (N, H, W, 3)."""
        given = self.processor(list(pictures), return_tensors="pt", input_data_format="channels_last")
        found = self.encoder(given["pixel_values"], output_hidden_states=True)
        return torch.as_tensor(found.hidden_states[-2])


def load_sight(scorer: str) -> Sight:
    """The picture half of a scorer of this name. Raises :class:`PocketError` where there is none."""
    try:
        place = ModelRegistry().resolve_scorer(scorer)
    except UnknownModel as error:
        raise PocketError(str(error)) from error
    encoder = CLIPVisionModel.from_pretrained(place, dtype=torch.float32, local_files_only=True)
    processor = CLIPImageProcessorPil.from_pretrained(place, local_files_only=True)
    return Sight(encoder.eval().requires_grad_(False), processor)
