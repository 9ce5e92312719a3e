"""Parameters of what part of the picture is worked on and how it is put back, for every method."""

from __future__ import annotations

from typing import Any

from mattebox_backend.methods.parameters import integer, number, switch


def feather() -> Any:
    """A field: how softly regions end."""
    return integer(0, 0, 1000, "The least feather of every region, outside its mask.", "pixels")


def boundary_smoothing() -> Any:
    """A field: √α of region-of-interest-aware diffusion, eq. 4.12."""
    return number(
        0.0,
        0.0,
        200.0,
        "Soften the edge of the regions over this length (√α of a diffusion equation), inside and, as far as "
        "the feather reaches, outside; 0 does not.",
        "pixels",
    )


def preserve() -> Any:
    """A field: whether what lies outside stays what it was."""
    return switch(True, "Composite over the source, so that nothing outside the regions changes.")


def size() -> Any:
    """A field: the working size."""
    return integer(
        0, 0, 4096, "Side of the square whose area the clip is worked at; 0 is the model's own.", "pixels"
    )


def focus() -> Any:
    """A field: see `render.view.focus`."""
    return switch(False, "Work on the part of the picture around the regions alone: less time and memory.")


def focus_margin() -> Any:
    """A field: see `render.view.focus`."""
    return number(
        0.125, 0.0, 1.0, "What of the picture's longer side that part has around the regions, at least."
    )
