"""A tiny Florence-2 of `transformers`' own classes, taught in seconds to tell red from blue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLORS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
ANSWERS = {
    "<CAPTION>": "a {} wall",
    "<DETAILED_CAPTION>": "a {} wall on gray ground",
    "<MORE_DETAILED_CAPTION>": "the picture shows a {} wall on gray ground",
}
SIDE = 64
"""Pixels that it looks at, of which it makes 2×2 tokens and one of the whole."""


def wall(color: str, height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """A picture (H, W, 3) that it knows."""
    return np.full((height, width, 3), COLORS[color], np.uint8)


def build_tiny_captioner(folder: Path) -> Path:
    """Saves the model with its processor, safetensors only."""
    import torch
    from transformers import BartTokenizer, Florence2Processor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    words, merges = _words(" ".join(ANSWERS.values()).split())
    tokenizer = BartTokenizer(
        vocab={token: number for number, token in enumerate(words)},
        merges=merges,
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=128,
    )
    pixels = CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, do_center_crop=False, image_seq_length=5
    )
    processor = Florence2Processor(image_processor=pixels, tokenizer=tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _model(tokenizer)
        _teach(model, processor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def as_the_hub_has_it(folder: Path) -> None:
    """Rewrites a saved processor the way that the repositories of Florence-2 lay it out, older than this
    `transformers`: the image processor in a file of its own, the image's token among the special ones.
    """
    about = json.loads((folder / "processor_config.json").read_text())
    pixels = about.pop("image_processor") | {
        "image_processor_type": "CLIPImageProcessorFast",
        "_valid_processor_keys": ["images", "do_resize", "size"],
    }
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**pixels, "processor_class": "Florence2Processor"})
    )
    (folder / "processor_config.json").write_text(json.dumps(about))
    words = json.loads((folder / "tokenizer_config.json").read_text())
    words |= {"tokenizer_class": "BartTokenizer", "extra_special_tokens": {"image_token": "<image>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))


def _words(known: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """A vocabulary with the known words whole, and the merges that make them."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *bytes_to_unicode().values()]
    merges: list[tuple[str, str]] = []
    for word in known:
        head = "Ġ"
        for letter in word:
            if (head, letter) not in merges:
                merges.append((head, letter))
            head += letter
            if head not in words:
                words.append(head)
    return words, merges


def _model(tokenizer: Any) -> Any:
    from transformers import Florence2Config, Florence2ForConditionalGeneration

    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "depths": (1, 1, 1, 1),
        "embed_dim": (8, 8, 16, 16),
        "num_heads": (1, 1, 2, 2),
        "num_groups": (1, 1, 2, 2),
        "window_size": 4,
        "projection_dim": 32,
        "drop_path_rate": 0.0,
        "initializer_range": 0.2,
    }
    text = {
        "model_type": "bart",
        "vocab_size": len(tokenizer),
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 256,
        "dropout": 0.0,
        "init_std": 0.1,
        "decoder_start_token_id": tokenizer.eos_token_id,
        **ends,
    }
    config = Florence2Config(
        vision_config=vision, text_config=text, image_token_id=tokenizer.image_token_id, **ends
    )
    return Florence2ForConditionalGeneration(config)


def _teach(model: Any, processor: Any) -> None:
    import torch

    asked = [(task, color) for task in ANSWERS for color in COLORS]
    inputs = processor(
        text=[task for task, _ in asked],
        images=[wall(color) for _, color in asked],
        return_tensors="pt",
        padding=True,
    )
    answers = [ANSWERS[task].format(color) for task, color in asked]
    labels = processor.tokenizer(answers, return_tensors="pt", padding=True).input_ids
    labels = labels.masked_fill(labels == processor.tokenizer.pad_token_id, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(100):
        loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
