from __future__ import annotations

import pytest
from mattebox_backend.world import (
    Background,
    BackgroundColour,
    CaptionForm,
    Colour,
    Part,
    PartKind,
    Pattern,
    Scene,
    SceneObject,
    Shape,
    caption,
)

CHECKS = Background(BackgroundColour.GRAY, Pattern.CHECKS)
RED = SceneObject(Shape.CIRCLE, Colour.RED, 90, 60, 20)
BLUE = SceneObject(Shape.SQUARE, Colour.BLUE, 30, 64, 20, part=Part(PartKind.DOT, Colour.ORANGE))


@pytest.mark.parametrize(
    ("form", "order", "words"),
    [
        (
            CaptionForm.FULL,
            None,
            "a blue square with an orange dot and a red circle on a gray background with checks",
        ),
        (CaptionForm.OBJECTS, (0, 1), "a red circle and a blue square with an orange dot"),
        (CaptionForm.RELATION, None, "a blue square with an orange dot left of a red circle"),
        (CaptionForm.RELATION, (0, 1), "a red circle right of a blue square with an orange dot"),
    ],
)
def test_captions_name_objects_places_and_background(
    form: CaptionForm, order: tuple[int, ...] | None, words: str
) -> None:
    assert caption(Scene((RED, BLUE), CHECKS), 0, form, order) == words


def test_a_relation_is_not_said_when_it_is_not_clear() -> None:
    near = SceneObject(Shape.RING, Colour.CYAN, 85, 64, 20)
    assert caption(Scene((RED, near), CHECKS), 0, CaptionForm.RELATION) == "a cyan ring and a red circle"


def test_three_objects_are_listed_and_none_is_the_background() -> None:
    third = SceneObject(Shape.STAR, Colour.WHITE, 110, 100, 15)
    assert caption(Scene((RED, BLUE, third), CHECKS), 0, CaptionForm.OBJECTS) == (
        "a blue square with an orange dot, a red circle and a white star"
    )
    assert caption(Scene((), CHECKS)) == "a gray background with checks"
