"""The pocket UMT5 encoder and its tokenizer, over the world's own words."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

from mattebox_backend.pocket.tokenizer import world_words
from mattebox_backend.pocket.wan.config import TextConfig

CAPTION_LENGTH: Final = 48
"""Tokens of the longest caption of the world, and some more."""
CONTEXT_LENGTH: Final = 512
"""Tokens that Wan's transformer is given of every text."""
_SPACE = "▁"


def build_tokenizer() -> T5Tokenizer:
    """A T5 tokenizer: each word of the world is one piece, any other falls apart into its letters."""
    specials = ("<pad>", "</s>", "<unk>")
    letters = [_SPACE, *string.ascii_letters, *string.digits, *string.punctuation]
    pieces = [(piece, 0.0) for piece in specials]
    pieces += [(_SPACE + word, -1.0) for word in world_words()]
    pieces += [(letter, -10.0) for letter in letters]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=CONTEXT_LENGTH)


def build_text_encoder(config: TextConfig, tokenizer: T5Tokenizer) -> UMT5EncoderModel:
    """An untrained UMT5 encoder for ``tokenizer``."""
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer),
            d_model=config.width,
            d_kv=config.width // config.heads,
            d_ff=2 * config.width,
            num_layers=config.layers,
            num_heads=config.heads,
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def token_ids(tokenizer: T5Tokenizer, prompts: Sequence[str]) -> Tensor:
    """(N, CAPTION_LENGTH) int64 ids of captions, padded."""
    encoded = tokenizer(list(prompts), padding="max_length", max_length=CAPTION_LENGTH, truncation=True)
    return torch.tensor(encoded["input_ids"], dtype=torch.long)


def text_states(encoder: UMT5EncoderModel, tokens: Tensor) -> Tensor:
    """(N, CONTEXT_LENGTH, C) states of tokens (N, L): zero where there is no token, as Wan's are."""
    mask = tokens != encoder.config.pad_token_id
    states = encoder(tokens, mask.long()).last_hidden_state * mask.unsqueeze(-1)
    return torch.nn.functional.pad(states, (0, 0, 0, CONTEXT_LENGTH - tokens.shape[1]))
