"""What the user is looking at and holding: playhead, tool, brush. Not part of the project, so not
undoable.
"""

from __future__ import annotations

from enum import Enum, auto

from mattebox_desktop.model.brush import Brush
from mattebox_desktop.model.observed import Node, Observed
from mattebox_desktop.model.reference import Reference
from mattebox_desktop.model.region import Region


class Tool(Enum):
    SELECT = auto()
    BRUSH = auto()
    ERASE = auto()
    BOX = auto()


class Compare(Enum):
    """What the viewer shows: what is in use, the source alone, or both with a wipe between them."""

    OFF = auto()
    SOURCE = auto()
    WIPE = auto()


class Session(Node):
    frame = Observed(0)
    region = Observed[Region | None](None)
    tool = Observed(Tool.SELECT)
    brush = Observed(Brush())
    masks_shown = Observed(True)
    compare = Observed(Compare.OFF)
    wipe = Observed(0.5)
    reference = Observed[Reference | None](None)
    """The one that commands are about."""
    references_shown = Observed(False)
    """Whether a frame's reference stands in the viewer for what is in use."""

    def __init__(self) -> None:
        super().__init__(None)
