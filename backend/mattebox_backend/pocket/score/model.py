"""The scorer as it is trained: a small CLIP of two towers, and a classifier of what its vision tower sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mattebox_backend.pocket.score.config import PocketScoreConfig
from mattebox_backend.pocket.score.dataset import COLOURS, SHAPES

PLACE_SCALE = 0.6
"""Of the places at the start, which outweigh the patches: a shape is a matter of where. A trial on single
objects had 39 % of shapes after 250 steps, and 33 % at half of this."""
_SLOWEST = 100.0
"""The longest of their periods over the shortest."""


class AttributeHead(nn.Module):
    """Reads shape and colour of the one object of a picture off the vision tower's pooled state."""

    def __init__(self, width: int, shapes: int = len(SHAPES), colours: int = len(COLOURS)) -> None:
        super().__init__()
        self.shape = nn.Linear(width, shapes)
        self.colour = nn.Linear(width, colours)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, shapes) and (N, colours) of pooled states (N, width)."""
        return self.shape(pooled), self.colour(pooled)


class DenseHead(nn.Module):
    """Reads off the state of every patch which of its pixels are objects', and whose: what the vision tower
    is trained by, and nothing that ships.

    A small transformer is slow to find shapes by words alone, which are few bits a picture; the world knows
    every pixel.
    """

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.object = nn.Linear(width, patch * patch)
        self.shape = nn.Linear(width, len(SHAPES))
        self.colour = nn.Linear(width, len(COLOURS))

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, P, pixels of a patch), (N, P, shapes) and (N, P, colours) of states (N, P, width)."""
        normed = self.norm(states)
        return self.object(normed), self.shape(normed), self.colour(normed)


@dataclass(frozen=True, slots=True, eq=False)
class PocketScore:
    """A scorer with all that it needs to be used."""

    clip: CLIPModel
    attributes: AttributeHead
    tokenizer: CLIPTokenizer

    @property
    def pixels(self) -> int:
        """The side of the pictures that it sees."""
        return int(self.clip.config.vision_config.image_size)


def build_clip(config: PocketScoreConfig, tokenizer: CLIPTokenizer) -> CLIPModel:
    """An untrained CLIP for ``tokenizer``."""
    vision, text = config.vision, config.text
    layout = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": text.width,
            "intermediate_size": 4 * text.width,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.length,
            "projection_dim": config.embedding,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": vision.width,
            "intermediate_size": 4 * vision.width,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "image_size": vision.size,
            "patch_size": vision.patch,
            "projection_dim": config.embedding,
        },
        projection_dim=config.embedding,
    )
    # on a CPU the fused kernel's backward pass takes longer than the formula
    clip = CLIPModel._from_config(layout, attn_implementation="eager")
    places = clip.vision_model.embeddings.position_embedding
    with torch.no_grad():  # the first place is that of the class token
        places.weight[1:] = PLACE_SCALE * place_states(vision.size // vision.patch, vision.width)
    return clip


def place_states(side: int, width: int) -> Tensor:
    """(side², width) sines and cosines of the column and the row of every patch, in reading order: what the
    places begin with, so that neighbours are alike before anything is learnt (Beyer et al., 2022).
    """
    rate = _SLOWEST ** -(torch.arange(width // 4) / max(1, width // 4 - 1))
    row, column = (
        axis.reshape(-1, 1) * rate for axis in torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij")
    )
    return torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], dim=1)


def build_processor(size: int) -> CLIPImageProcessorPil:
    """What brings any picture to the ``size`` and the range of values that the vision tower reads."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, do_convert_rgb=True
    )


def to_pixel_values(images: Tensor, processor: CLIPImageProcessorPil) -> Tensor:
    """Pictures (N, S, S, 3) uint8 of the right size as the vision tower reads them: (N, 3, S, S) float32."""
    mean, deviation = (torch.tensor(v) for v in (processor.image_mean, processor.image_std))
    values: Tensor = ((images.float() / 255 - mean) / deviation).permute(0, 3, 1, 2)
    return values
