"""A CLIP tokenizer over the world's own words: each of them is one token, any other word falls apart into its
letters.
"""

from __future__ import annotations

from typing import Final

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from mattebox_backend.world.vocabulary import BackgroundColour, Colour, PartKind, Pattern, Shape

START: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"

_GRAMMAR = (
    "a",
    "an",
    "and",
    "on",
    "of",
    "with",
    "left",
    "right",
    "above",
    "below",
    "background",
    "the",
    "two",
    "three",
    "in",
)


def world_words() -> tuple[str, ...]:
    """Every word that a caption of the world may hold, in a fixed order."""
    kinds = (Shape, Colour, PartKind, BackgroundColour, Pattern)
    return (*_GRAMMAR, *(str(word) for kind in kinds for word in kind))


def build_tokenizer(length: int) -> CLIPTokenizer:
    """A tokenizer that pads and truncates to ``length`` tokens.

    Its vocabulary holds the 256 byte letters, the same at the end of a word, and the merges that lead to each
    whole word.
    """
    letters = list(bytes_to_unicode().values())
    vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in world_words():
        # right to left, so that a merge holds the end of its word: no word can steal the beginning of another
        tail = word[-1] + "</w>"
        for letter in reversed(word[:-1]):
            if (letter, tail) not in merges:
                merges.append((letter, tail))
            tail = letter + tail
            if tail not in vocabulary:
                vocabulary.append(tail)
    vocabulary += [START, END]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocabulary)},
        merges=merges,
        model_max_length=length,
    )
