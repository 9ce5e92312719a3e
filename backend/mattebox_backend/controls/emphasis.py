"""Words of a prompt with a weight, as a user writes them: `green=2, a small hat=0.5`."""

from __future__ import annotations

import math

from mattebox_backend.backbones.protocol import Backbone
from mattebox_backend.controls.text_layout import places_of
from mattebox_backend.errors import InvalidEdit

_LARGEST = 20.0


def parse_emphasis(backbone: Backbone, prompt: str, emphasis: str) -> dict[int, float]:
    """What the maps of a prompt's tokens are multiplied by: position among its words → weight; tokens that
    are not named are left out.

    emphasis: `phrase=weight` pairs with commas between them, weights from 0 to 20. Raises `InvalidEdit` for a
    phrase that is not in the prompt and for what is no such pair.
    """
    weights: dict[int, float] = {}
    for item in filter(None, (part.strip() for part in emphasis.split(","))):
        phrase, equals, number = item.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not equals or not phrase.strip() or not 0 <= weight <= _LARGEST:
            raise InvalidEdit(
                f"The emphasis {item!r} is not of the form phrase=weight with a weight from 0 to "
                f"{_LARGEST:g}, as in green=2."
            )
        places = places_of(backbone, prompt, phrase.strip())
        if not places:
            raise InvalidEdit(
                f"The emphasis names {phrase.strip()!r}, which is not in the prompt {prompt!r}; "
                "name words that are."
            )
        weights.update({index: weight for place in places for index in place})
    return weights
