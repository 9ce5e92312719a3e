"""Right captions of a picture, and wrong ones that differ from them by an attribute or two.

A scorer that has only ever to tell a red star from a blue circle may look at the colour alone; beside "a red
circle" and "a blue star" it has to bind the two (Yuksekgonul et al., 2023: When and why vision-language
models behave like bags-of-words).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from mattebox_backend.world.captions import CaptionForm, background_phrase, caption, object_phrase
from mattebox_backend.world.edits import (
    ChangeBackground,
    Recolour,
    Reshape,
    Restyle,
    SceneEdit,
    SetPart,
    Swap,
)
from mattebox_backend.world.scene import Scene
from mattebox_backend.world.vocabulary import BackgroundColour, Colour, PartKind, Pattern, Shape

_Choice = TypeVar("_Choice")

_TRIES = 20
"""Draws for each wrong caption that is wanted, before fewer have to do."""
_SECOND_EDIT = 0.3
"""How often a wrong caption differs by two edits."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a caption says: of which objects of ``scene`` at ``time`` (frames), in which form and order.

    An empty ``order`` says the background alone.
    """

    scene: Scene
    time: float
    form: CaptionForm
    order: tuple[int, ...]

    @property
    def text(self) -> str:
        """The caption."""
        if not self.order:
            return background_phrase(self.scene.background)
        said = replace(self.scene, objects=tuple(self.scene.objects[n] for n in self.order))
        return caption(said, self.time, self.form, order=range(len(self.order)))

    @property
    def says_background(self) -> bool:
        """Whether the background is named."""
        return not self.order or self.form in (CaptionForm.FULL, CaptionForm.RELATION_FULL)

    @property
    def says_relation(self) -> bool:
        """Whether it tells where two objects stand to each other."""
        related = self.form in (CaptionForm.RELATION, CaptionForm.RELATION_FULL) and len(self.order) == 2
        return related and " and " not in self.text

    def phrases(self) -> Counter[str]:
        """The phrases of the objects that are said."""
        return Counter(object_phrase(self.scene.objects[n], self.time) for n in self.order)


def wrong_captions(claim: Claim, count: int, rng: np.random.Generator) -> list[str]:
    """Up to ``count`` different captions that are built as ``claim`` is and are wrong of its scene, most of
    them by one attribute; fewer where there are no more to be found.
    """
    found: dict[str, None] = {}
    for _ in range(count * _TRIES):
        if len(found) == count:
            break
        edits = [_edit(claim, rng) for _ in range(1 + int(rng.random() < _SECOND_EDIT))]
        wrong = replace(claim, scene=claim.scene.edit(*(edit for group in edits for edit in group)))
        if not _is_true(wrong, claim):
            found[wrong.text] = None
    return list(found)


def _is_true(said: Claim, right: Claim) -> bool:
    """Whether what is ``said`` holds of the scene of ``right``, which is itself true.

    An object may be left out, and without a relation the order says nothing.
    """
    if said.says_background and said.scene.background != right.scene.background:
        return False
    if said.says_relation or right.says_relation:
        return said.text == right.text
    there = Counter(object_phrase(item, right.time) for item in right.scene.objects)
    return said.phrases() <= there


def _edit(claim: Claim, rng: np.random.Generator) -> Sequence[SceneEdit]:
    """Edits that change one thing that the claim says: a look, or who of two has it."""
    scene, said = claim.scene, claim.order
    kinds = ["colour", "shape"] * bool(said) + ["part"] * bool(rng.random() < 0.3 and said)
    kinds += ["trade"] * (2 * (len(said) > 1)) + ["swap"] * claim.says_relation
    kinds += ["background", "pattern"] * claim.says_background
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind == "background":
        return [ChangeBackground(_draw(list(BackgroundColour), rng))]
    if kind == "pattern":
        return [Restyle(_draw(list(Pattern), rng))]
    index = said[int(rng.integers(len(said)))]
    item = scene.objects[index]
    if kind == "colour":
        return [Recolour(index, _draw(list(Colour), rng))]
    if kind == "shape":
        return [Reshape(index, _draw(list(Shape), rng))]
    if kind == "part":
        others = [colour for colour in Colour if colour is not item.colour_at(claim.time)]
        return [SetPart(index, _draw(list(PartKind), rng), _draw(others, rng))]
    other = _draw([n for n in said if n != index], rng)
    if kind == "swap":
        return [Swap(index, other)]
    if rng.random() < 0.5:
        return [Reshape(index, scene.objects[other].shape), Reshape(other, item.shape)]
    colours = item.colour_at(claim.time), scene.objects[other].colour_at(claim.time)
    return [Recolour(index, colours[1]), Recolour(other, colours[0])]


def _draw(choices: Sequence[_Choice], rng: np.random.Generator) -> _Choice:
    return choices[int(rng.integers(len(choices)))]
