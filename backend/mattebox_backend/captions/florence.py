"""Florence-2 (Xiao et al., 2024) as a captioner, through `transformers`' own classes.

Any folder of a `Florence2ForConditionalGeneration` will do, such as florence-community/Florence-2-base.
Microsoft's original folders need code of their own, which is never run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    BartTokenizer,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.backbones.stable_diffusion import load_weights, ready, refusing
from mattebox_backend.captions.folders import fault_of
from mattebox_backend.captions.request import Detail
from mattebox_backend.device import Device
from mattebox_backend.errors import ModelRefused

TASKS: Final = {
    Detail.SENTENCE: "<CAPTION>",
    Detail.DETAILED: "<DETAILED_CAPTION>",
    Detail.PARAGRAPH: "<MORE_DETAILED_CAPTION>",
}
"""What Florence-2 was trained to answer to."""
_BEAMS = 3
_MOST_TOKENS = 256
"""A paragraph has about a hundred."""


@dataclass(slots=True, eq=False)
class Florence:
    """Florence-2 as loaded from a folder, on a device."""

    name: str
    device: Device
    module: Any
    processor: Any

    @classmethod
    def load(cls, folder: ModelFolder, device: Device) -> Florence:
        """Load a folder onto a device, from safetensors and without code of the folder's own.

        Raises `ModelRefused` for another class of model, for weights in another layout, and for missing or
        damaged files.
        """
        if fault := fault_of(folder):
            raise ModelRefused(f"The captioner {folder.name} cannot be loaded: {fault}.")
        with refusing(folder, "tokenizer or image processor"):
            tokenizer = BartTokenizer.from_pretrained(folder.path, local_files_only=True)
            # The one that needs no torchvision.
            pixels = CLIPImageProcessorPil.from_pretrained(folder.path, local_files_only=True)
            if not hasattr(tokenizer, "image_token") or not getattr(pixels, "image_seq_length", None):
                raise ValueError("they do not say how a picture stands among the words")
            processor = Florence2Processor(image_processor=pixels, tokenizer=tokenizer)
        module, found = load_weights(folder, "", device, _load_whole, "dtype")
        strange = [*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"]]
        if strange:
            raise ModelRefused(
                f"The weights of the captioner {folder.name} are laid out otherwise than transformers' "
                f"Florence-2 reads them ({len(strange)} parts do not fit); take florence-community's."
            )
        return cls(folder.name, device, ready(module, device), processor)

    def unload(self) -> None:
        """Give the memory back; it is not usable afterwards."""
        self.module = None

    @torch.no_grad()
    def describe(self, picture: NDArray[np.uint8], detail: Detail, check: Callable[[], None]) -> str:
        """Say what a picture (H, W, 3) uint8, of any size, shows: the same words each time, by beam search.

        check: called before every word; may raise to stop. Raises `ModelRefused` where it has no words.
        """
        check()
        shown = Image.fromarray(picture)
        inputs = self.processor(text=TASKS[detail], images=shown, return_tensors="pt")
        inputs = inputs.to(self.device.torch, self.device.dtype)
        most = min(_MOST_TOKENS, self.module.config.text_config.max_position_embeddings - 1)
        tokens = self.module.generate(
            **inputs,
            num_beams=_BEAMS,
            do_sample=False,
            max_new_tokens=most,
            stopping_criteria=StoppingCriteriaList([_Checking(check)]),
        )
        (text,) = self.processor.batch_decode(tokens, skip_special_tokens=True)
        words = " ".join(text.split())
        if not words:
            raise ModelRefused(
                f"The captioner {self.name} has no words for this picture; say yourself what it shows."
            )
        return words


class _Checking(StoppingCriteria):  # type: ignore[misc]
    """Stops nothing by itself: asks, before each word, whether the words are still wanted."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **named: Any) -> torch.Tensor:
        self._check()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _load_whole(folder: Any, **named: Any) -> tuple[Any, dict[str, Sequence[str]]]:
    found: tuple[Any, dict[str, Sequence[str]]] = Florence2ForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True, **named
    )
    return found
