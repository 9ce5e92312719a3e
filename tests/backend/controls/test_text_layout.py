"""Whose words are whose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mattebox_backend.controls.text_layout import lay_out_text
from mattebox_backend.edit import Region
from mattebox_backend.errors import InvalidEdit


def region(prompt: str, *words: str) -> Region:
    return Region("r", prompt, np.full((1, 4, 4), 255, np.uint8), words=words)


def words_of(backbone: Any, prompt: str, *regions: Region) -> tuple[tuple[int, ...], ...]:
    return lay_out_text(backbone, prompt, regions).words


def test_words_are_where_the_region_prompt_stands_in_the_global_one(backbone: Any) -> None:
    words = words_of(
        backbone, "a red circle and a blue square", region("a red circle"), region("a blue square")
    )
    assert words == ((1, 2, 3), (5, 6, 7)), "position 0 is the start token"


def test_every_occurrence_counts(backbone: Any) -> None:
    words = words_of(backbone, "a red circle and a red circle on gray", region("a red circle"))
    assert words == ((1, 2, 3, 5, 6, 7),)


def test_all_pieces_of_an_unknown_word_belong_to_it(backbone: Any) -> None:
    pieces = len(backbone.tokens("zebra"))
    assert pieces > 1
    words = words_of(backbone, "a red zebra and a hat", region("a red zebra"))
    assert words == (tuple(range(1, 3 + pieces)),)


def test_another_article_still_matches(backbone: Any) -> None:
    assert words_of(backbone, "the red circle on a background", region("a red circle")) == ((2, 3),)


def test_a_word_is_not_found_inside_another(backbone: Any) -> None:
    layout = lay_out_text(backbone, "a hatman", [region("hat")])
    assert layout.prompt == "a hatman, hat"


def test_a_region_prompt_that_is_absent_is_appended(backbone: Any) -> None:
    layout = lay_out_text(backbone, "a red circle", [region("a blue square")])
    assert layout.prompt == "a red circle, a blue square"
    positions = layout.words[0]
    assert [backbone.embed(layout.prompt).words[p - 1] for p in positions] == list(
        backbone.tokens("a blue square")
    )
    assert lay_out_text(backbone, "", [region("a hat")]).prompt == "a hat"


def test_words_can_be_chosen_by_hand_and_have_to_be_there(backbone: Any) -> None:
    assert words_of(backbone, "a red circle and a hat", region("a red circle", "hat")) == ((6,),)
    with pytest.raises(InvalidEdit, match=r"'green'.*not in the prompt"):
        lay_out_text(backbone, "a red circle", [region("a red circle", "green")])


def test_specials_are_start_end_and_padding(backbone: Any) -> None:
    layout = lay_out_text(backbone, "a red circle", [region("a red circle")])
    assert layout.specials == (0, *range(4, backbone.token_limit))


def test_words_encoded_alone_say_nothing_of_the_other_region(backbone: Any) -> None:
    """A causal encoder writes the first object into the second's words; alone, they are the same after any
    other.
    """
    second = region("a blue square")
    after_red = lay_out_text(backbone, "a red circle and a blue square", [region("a red circle"), second])
    after_green = lay_out_text(
        backbone, "a green circle and a blue square", [region("a green circle"), second]
    )
    alone = backbone.embed("a blue square").states
    for layout in (after_red, after_green):
        torch.testing.assert_close(layout.states[list(layout.words[1])], alone[1:4])
    told = lay_out_text(backbone, "a red circle and a blue square", [second], words_alone=False)
    assert not torch.allclose(told.states[list(told.words[0])], alone[1:4], atol=1e-4)
    untouched = [p for p in range(len(alone)) if p not in (*after_red.words[0], *after_red.words[1])]
    torch.testing.assert_close(
        after_red.states[untouched], backbone.embed("a red circle and a blue square").states[untouched]
    )


@pytest.mark.parametrize("prompt", ["red circle", "circle"])
def test_words_with_an_article_that_the_region_prompt_lacks_are_encoded_as_they_stand(
    backbone: Any, prompt: str
) -> None:
    chosen = f"a {prompt}"
    layout = lay_out_text(backbone, f"{chosen} and a blue square", [region(prompt, chosen)])
    alone = backbone.embed(chosen)
    count = len(alone.words)
    assert layout.words == (tuple(range(1, 1 + count)),)
    torch.testing.assert_close(layout.states[1 : 1 + count], alone.states[1 : 1 + count])
