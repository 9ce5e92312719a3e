"""Which words of the prompt belong to which region, and what those words say to the backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mattebox_backend.backbones.protocol import Backbone
from mattebox_backend.diffusion.inspection import InspectedWord
from mattebox_backend.edit import Region
from mattebox_backend.errors import InvalidEdit

_ARTICLES = ("a", "an", "the")


@dataclass(frozen=True, slots=True, eq=False)
class TextLayout:
    """A prompt laid out over regions.

    prompt: with the region prompts that it lacked appended. states: (L, C). words: per region the positions
    among the L of its words. specials: the positions of start, end and padding.
    """

    prompt: str
    states: torch.Tensor
    words: tuple[tuple[int, ...], ...]
    specials: tuple[int, ...]

    @property
    def length(self) -> int:
        """L."""
        return len(self.states)


def lay_out_text(
    backbone: Backbone, prompt: str, regions: Sequence[Region], *, words_alone: bool = True
) -> TextLayout:
    """Find every region's words of interest in the prompt, and encode it.

    A region's words are all tokens of every place where its prompt stands in the global one; where it
    begins with an article, another article or none may stand there. A region prompt that is nowhere in the
    global prompt is appended to it. `Region.words` overrides the search: these very phrases, each of which
    has to be there.

    words_alone: give a region's words the states of its prompt *encoded alone*. A causal text encoder
    writes every object that it has read into each later word, so that the second object's words also speak
    of the first.

    Raises `InvalidEdit` for words that are not in the prompt and for a prompt that is too long.
    """
    for region in regions:
        if not region.words and not places_of(backbone, prompt, region.prompt):
            prompt = f"{prompt}, {region.prompt}" if prompt.strip() else region.prompt
    text = backbone.embed(prompt)
    states = text.states.clone()
    words: list[tuple[int, ...]] = []
    for region in regions:
        positions: set[int] = set()
        for phrase in region.words or (region.prompt,):
            places = places_of(backbone, prompt, phrase)
            if not places:
                raise InvalidEdit(
                    f"The words {phrase!r} of region {region.name!r} are not in the prompt {prompt!r}; "
                    "add them there or leave the region's words empty."
                )
            for place in places:
                span = [text.first + index for index in place]
                positions.update(span)
                if words_alone:
                    states[span] = _encode_alone(backbone, region.prompt, phrase, len(span))
        words.append(tuple(sorted(positions)))
    last = text.first + len(text.words)
    specials = (*range(text.first), *range(last, len(states)))
    return TextLayout(prompt, states, tuple(words), specials)


def words_of(backbone: Backbone, text: TextLayout, regions: Sequence[Region]) -> tuple[InspectedWord, ...]:
    """The words of the prompt as they are written, with the positions of their tokens and the region that
    they belong to. A prompt that is not cut at its spaces is given token by token.
    """
    first = next((n for n in range(text.length) if n not in text.specials), text.length)
    pieces = text.prompt.split()
    counts = [len(backbone.tokens(piece)) for piece in pieces]
    total = text.length - len(text.specials)
    if sum(counts) != total:
        pieces, counts = [f"token {n + 1}" for n in range(total)], [1] * total
    found = []
    for piece, count in zip(pieces, counts, strict=True):
        positions = tuple(range(first, first + count))
        owners = [r.name for r, words in zip(regions, text.words, strict=True) if set(positions) & set(words)]
        if positions:
            found.append(InspectedWord(piece, positions, owners[0] if owners else ""))
        first += count
    return tuple(found)


def _encode_alone(backbone: Backbone, region_prompt: str, phrase: str, count: int) -> torch.Tensor:
    """States (count, C) of a phrase of a region's prompt, read without the rest of the global prompt."""
    inside = [place for place in places_of(backbone, region_prompt, phrase) if len(place) >= count]
    alone = backbone.embed(region_prompt if inside else phrase)
    tokens = inside[0] if inside else range(len(alone.words))
    # An article that only one of the two has: the phrase's own last words are what counts.
    return alone.states[[alone.first + index for index in tokens][-count:]]


def places_of(backbone: Backbone, prompt: str, phrase: str) -> list[range]:
    """Where a phrase stands in a prompt: ranges of token indices, without overlaps."""
    haystack = backbone.tokens(prompt)
    for candidate in (phrase, _without_article(phrase)):
        needle = backbone.tokens(candidate)
        places: list[range] = []
        start = 0
        while needle and start + len(needle) <= len(haystack):
            if haystack[start : start + len(needle)] == needle:
                places.append(range(start, start + len(needle)))
                start += len(needle)
            else:
                start += 1
        if places:
            return places
    return []


def _without_article(phrase: str) -> str:
    first, _, rest = phrase.strip().partition(" ")
    return rest if first.lower() in _ARTICLES and rest else phrase
