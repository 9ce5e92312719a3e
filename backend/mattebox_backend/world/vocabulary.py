"""The words of the synthetic world: shapes, colours, parts and backgrounds, and what each looks like."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

Rgb: TypeAlias = tuple[int, int, int]


class Shape(StrEnum):
    """Silhouette of an object."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    RING = "ring"
    CROSS = "cross"


class Colour(StrEnum):
    """Colour of an object or of a part."""

    RED = "red"
    GREEN = "green"
    BLUE = "blue"
    YELLOW = "yellow"
    PURPLE = "purple"
    ORANGE = "orange"
    WHITE = "white"
    CYAN = "cyan"


class PartKind(StrEnum):
    """A mark of a second colour on an object."""

    DOT = "dot"
    STRIPE = "stripe"


class BackgroundColour(StrEnum):
    """Colour of the background; none of them is an object colour."""

    GRAY = "gray"
    BLACK = "black"
    BROWN = "brown"
    PINK = "pink"


class Pattern(StrEnum):
    """How the background colour is laid out."""

    PLAIN = "plain"
    GRADIENT = "gradient"
    NOISE = "noise"
    CHECKS = "checks"


class MotionKind(StrEnum):
    """How an object moves over the clip."""

    STILL = "still"
    LINEAR = "linear"
    ORBIT = "orbit"
    SPIN = "spin"
    PULSE = "pulse"


OBJECT_RGB: Final[dict[Colour, Rgb]] = {
    Colour.RED: (220, 40, 40),
    Colour.GREEN: (40, 170, 60),
    Colour.BLUE: (45, 75, 225),
    Colour.YELLOW: (245, 220, 40),
    Colour.PURPLE: (150, 50, 190),
    Colour.ORANGE: (245, 135, 25),
    Colour.WHITE: (248, 248, 248),
    Colour.CYAN: (50, 215, 225),
}

BACKGROUND_RGB: Final[dict[BackgroundColour, Rgb]] = {
    BackgroundColour.GRAY: (128, 128, 128),
    BackgroundColour.BLACK: (24, 24, 26),
    BackgroundColour.BROWN: (98, 66, 44),
    BackgroundColour.PINK: (228, 172, 188),
}
