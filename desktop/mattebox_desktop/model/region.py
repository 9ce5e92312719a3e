"""A region: a named area over time, with a prompt and a colour."""

from __future__ import annotations

import string
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mattebox_desktop.model.history import History
from mattebox_desktop.model.mask_track import MaskTrack
from mattebox_desktop.model.observed import Node, Observed

OKABE_ITO = (
    "#e69f00",  # orange
    "#56b4e9",  # sky blue
    "#009e73",  # bluish green
    "#f0e442",  # yellow
    "#0072b2",  # blue
    "#d55e00",  # vermilion
    "#cc79a7",  # reddish purple
)
"""Hues that stay apart for colour-blind eyes (Okabe and Ito, 2008); regions also differ by letter."""


class MaskMode(StrEnum):
    """How a mask is widened before it is used."""

    TIGHT = "tight"
    ELLIPSE = "ellipse"
    BOX = "box"
    DILATED = "dilated"


@dataclass(frozen=True, slots=True)
class RegionLook:
    """What tells a region apart: its colour and its letter."""

    color: str
    letter: str


class Region(Node):
    """A named area over time. Regions later in the project's list lie on top."""

    name = Observed("", "The region's name")
    prompt = Observed("", "The region's prompt")
    color = Observed(OKABE_ITO[0], "The region's colour")
    letter = Observed("A", "The region's letter")
    visible = Observed(True, "Whether the region is shown")
    mode = Observed(MaskMode.TIGHT, "How the region's mask is widened")
    dilation = Observed(0, "How far the region's mask is grown")
    feather = Observed(0, "The region's feather")
    words = Observed[tuple[str, ...]]((), "The words that mean the region")
    """Only an edit file says them; without them they are found from the region's prompt."""

    def __init__(
        self, history: History | None, shape: tuple[int, int], frame_count: int, *, id_: str = ""
    ) -> None:
        super().__init__(history)
        self.id = id_ or uuid.uuid4().hex[:12]
        self.masks = MaskTrack(history, shape, frame_count)
        self.extra: dict[str, Any] = {}
        Region.name.changed(self).connect(self._name_masks)

    def _name_masks(self, name: str) -> None:
        self.masks.name = name


def next_look(taken: list[RegionLook]) -> RegionLook:
    """The first letter and the least used colour that the regions so far leave free."""
    letters = {look.letter for look in taken}
    letter = next((c for c in string.ascii_uppercase if c not in letters), "Z")
    colors = [look.color for look in taken]
    return RegionLook(min(OKABE_ITO, key=colors.count), letter)
