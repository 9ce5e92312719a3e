"""The scorer as it is trained: a small CLIP of two towers, and a classifier of what its vision tower sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mattebox_backend.pocket.score.config import PocketScoreConfig
from mattebox_backend.pocket.score.dataset import COLOURS, SHAPES


class AttributeHead(nn.Module):
    """Reads shape and colour of the one object of a picture off the vision tower's pooled state."""

    def __init__(self, width: int, shapes: int = len(SHAPES), colours: int = len(COLOURS)) -> None:
        super().__init__()
        self.shape = nn.Linear(width, shapes)
        self.colour = nn.Linear(width, colours)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, shapes) and (N, colours) of pooled states (N, width)."""
        return self.shape(pooled), self.colour(pooled)


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
    return CLIPModel._from_config(layout, attn_implementation="eager")


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
