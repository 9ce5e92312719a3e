from __future__ import annotations

from pathlib import Path

import torch
from mattebox_backend.pocket.config import TextConfig
from mattebox_backend.pocket.text import build_text_encoder, embed, token_ids
from mattebox_backend.pocket.tokenizer import build_tokenizer, world_words
from transformers import CLIPTokenizer


def test_every_word_of_the_world_is_one_token() -> None:
    tokenizer = build_tokenizer(40)
    assert all(len(tokenizer.tokenize(word)) == 1 for word in world_words())
    assert tokenizer.tokenize("A red star, and") == ["a</w>", "red</w>", "star</w>", ",</w>", "and</w>"]


def test_an_unknown_word_falls_apart_and_no_text_is_refused() -> None:
    tokenizer = build_tokenizer(40)
    assert tokenizer.tokenize("zoo") == ["z", "o", "o</w>"]
    assert tokenizer.decode(tokenizer("größe 猫").input_ids, skip_special_tokens=True).strip()


def test_the_longest_caption_fits(tmp_path: Path) -> None:
    one = "a purple triangle with an orange stripe"
    longest = f"{one}, {one} and {one} on a brown background with a gradient"
    assert len(build_tokenizer(40)(longest).input_ids) <= 40


def test_a_saved_tokenizer_reads_back_the_same(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(40)
    tokenizer.save_pretrained(tmp_path)
    read = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert torch.equal(token_ids(read, ["a cyan ring"]), token_ids(tokenizer, ["a cyan ring"]))


def test_a_later_word_does_not_change_an_earlier_embedding() -> None:
    tokenizer = build_tokenizer(40)
    encoder = build_text_encoder(TextConfig(width=16, layers=1, heads=2), tokenizer).eval()
    one, other = embed(tokenizer, encoder, ["a red star", "a red ring"])
    assert torch.allclose(one[:3], other[:3], atol=1e-6)
    assert not torch.allclose(one[3], other[3], atol=1e-3)
