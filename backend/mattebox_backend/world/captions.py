"""Words for scenes: a phrase per object, and global captions in several forms."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from mattebox_backend.world.scene import Background, Scene, SceneObject
from mattebox_backend.world.vocabulary import Pattern

_PATTERN_WORDS = {
    Pattern.PLAIN: "",
    Pattern.GRADIENT: " with a gradient",
    Pattern.NOISE: " with noise",
    Pattern.CHECKS: " with checks",
}

RELATION_GAP = 12.0
"""Pixels by which two centres must differ for a relation to be said (at a frame of 128 pixels)."""


class CaptionForm(StrEnum):
    """How a global caption is built."""

    FULL = "full"
    """"a red circle and a blue square on a gray background"."""
    OBJECTS = "objects"
    """"a red circle and a blue square"."""
    RELATION = "relation"
    """"a red circle left of a blue square"; as OBJECTS unless two objects are clearly apart."""
    RELATION_FULL = "relation-full"
    """RELATION with the background said too."""


def object_phrase(item: SceneObject, time: float = 0) -> str:
    """Caption of one object, as in "a red star" or "a red star with a white dot"."""
    phrase = f"{_article(item.colour_at(time))} {item.shape}"
    if item.part is not None:
        phrase += f" with {_article(item.part.colour)} {item.part.kind}"
    return phrase


def background_phrase(background: Background) -> str:
    """Caption of a background, as in "a gray background with checks"."""
    return f"{_article(background.colour)} background{_PATTERN_WORDS[background.pattern]}"


def caption(
    scene: Scene, time: float = 0, form: CaptionForm = CaptionForm.FULL, order: Sequence[int] | None = None
) -> str:
    """Global caption of ``scene`` as it looks at ``time`` (frames).

    Objects are named in ``order`` (their indices), or in reading order: from left to right by their centres.
    A scene without objects is captioned by its background.
    """
    if not scene.objects:
        return background_phrase(scene.background)
    poses = [item.pose(time, scene.width, scene.height) for item in scene.objects]
    named = (
        list(order)
        if order is not None
        else sorted(range(len(poses)), key=lambda n: (poses[n].x, poses[n].y))
    )
    phrases = [object_phrase(scene.objects[n], time) for n in named]
    listing = f"{', '.join(phrases[:-1])} and {phrases[-1]}" if len(phrases) > 1 else phrases[0]
    if form in (CaptionForm.RELATION, CaptionForm.RELATION_FULL) and len(named) == 2:
        first, second = (poses[n] for n in named)
        relation = _relation(scene, second.x - first.x, second.y - first.y)
        listing = f"{phrases[0]} {relation} {phrases[1]}" if relation else listing
    if form in (CaptionForm.OBJECTS, CaptionForm.RELATION):
        return listing
    return f"{listing} on {background_phrase(scene.background)}"


def _relation(scene: Scene, dx: float, dy: float) -> str | None:
    """Where the first object lies as seen from the second, which is ``(dx, dy)`` pixels away; None when that
    is not clear.
    """
    if max(abs(dx), abs(dy)) < RELATION_GAP * min(scene.width, scene.height) / 128:
        return None
    if abs(dx) >= abs(dy):
        return "left of" if dx > 0 else "right of"
    return "above" if dy > 0 else "below"


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
