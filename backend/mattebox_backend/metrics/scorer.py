"""A CLIP that judges results: how well words fit pictures, and how alike pictures are to it.

Any folder or hub repository of a `CLIPModel` will do: `pocket-score`, OpenAI's, or PickScore (Kirstain et
al., 2023), which is a CLIP that was trained further on what people prefer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mattebox_backend.backbones.folder import ModelFolder
from mattebox_backend.backbones.stable_diffusion import load_weights, ready, refusing
from mattebox_backend.device import Device
from mattebox_backend.errors import ModelRefused

SCORER_FILES = ("*.json", "*.txt", "model*.safetensors")
"""What a hub repository of a CLIP holds of what is needed here."""
_AT_ONCE = 32
"""Pictures in one pass."""

Picture = NDArray[np.uint8]
Embeddings = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class Scorer:
    """`CLIPModel` as loaded from a folder, in float32; identity: a hash of configuration and weights."""

    name: str
    identity: str
    device: Device
    module: Any
    tokenizer: Any
    processor: Any

    @classmethod
    def load(cls, folder: ModelFolder, device: Device) -> Scorer:
        """Load a folder onto a device.

        Raises `ModelRefused` for another class of model, for weights that are not safetensors, and for
        missing or damaged files.
        """
        kind = folder.config("").get("model_type")
        if kind != "clip":
            raise ModelRefused(
                f"The model {folder.name} is of type {kind} and no CLIP; give a scorer that CLIPModel loads."
            )
        exact = replace(device, precision="float32")  # cosines differ by less than half precision tells apart
        module = load_weights(folder, "", exact, CLIPModel.from_pretrained, "dtype")
        with refusing(folder, "tokenizer or image processor"):
            tokenizer = CLIPTokenizer.from_pretrained(folder.path, local_files_only=True)
            processor = CLIPImageProcessorPil.from_pretrained(folder.path, local_files_only=True)
        return cls(folder.name, folder.identity(("",)), exact, ready(module, exact), tokenizer, processor)

    def unload(self) -> None:
        """Give the memory back; it is not usable afterwards."""
        self.module = None

    @torch.no_grad()
    def embed_pictures(self, pictures: Sequence[Picture]) -> Embeddings:
        """(N, C) float64 embeddings of pictures (H, W, 3) uint8, of any sizes: the shorter side is brought to
        the size that the CLIP reads and the middle is read, as its own processor does.
        """
        rows = [np.zeros((0, self.module.config.projection_dim))]
        for part in _parts(pictures):
            values = self.processor(list(part), return_tensors="pt", input_data_format="channels_last")
            pixels = values["pixel_values"].to(self.device.torch)
            found = self.module.get_image_features(pixel_values=pixels).pooler_output
            rows.append(found.double().cpu().numpy())
        return np.concatenate(rows)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """(N, C) float64 embeddings of texts; what is longer than the CLIP reads is cut off."""
        length = self.module.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt"
        )
        found = self.module.get_text_features(**tokens.to(self.device.torch)).pooler_output
        return np.asarray(found.double().cpu().numpy())

    @torch.no_grad()
    def layers(self, pictures: Sequence[Picture]) -> list[NDArray[np.float64]]:
        """The states after every layer of the vision tower, without the class token: for each layer
        (N, rows, columns, C) float64 of pictures (H, W, 3) uint8.

        The whole picture is brought to the size that the CLIP reads: nothing of it is cut off, so that a
        place in the states is a place in the picture.
        """
        vision = self.module.config.vision_config
        side = vision.image_size
        grid = side // vision.patch_size
        found: list[list[NDArray[np.float64]]] = []
        for part in _parts(pictures):
            values = self.processor(
                list(part),
                size={"height": side, "width": side},
                do_center_crop=False,
                return_tensors="pt",
                input_data_format="channels_last",
            )
            states = self.module.vision_model(
                pixel_values=values["pixel_values"].to(self.device.torch), output_hidden_states=True
            ).hidden_states
            found.append(
                [s[:, 1:].double().cpu().numpy().reshape(len(part), grid, grid, -1) for s in states[1:]]
            )
        return [np.concatenate(layer) for layer in zip(*found, strict=True)]


def open_scorer(model: Any, device: Device) -> Scorer:
    """The scorer in a folder in CLIP's layout, or of a hub repository; see `Scorer.load`."""
    return Scorer.load(ModelFolder.open(model, files=SCORER_FILES), device)


def _parts(pictures: Sequence[Picture]) -> Iterator[Sequence[Picture]]:
    for first in range(0, len(pictures), _AT_ONCE):
        yield pictures[first : first + _AT_ONCE]
