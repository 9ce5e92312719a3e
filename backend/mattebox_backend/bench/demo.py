"""Makes the demo that ships: two circles of one colour that move past each other, to become two different
things.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from mattebox_media import write_clip
from numpy.typing import NDArray

from mattebox_backend.pocket.checkpoint import write_atomically
from mattebox_backend.world.captions import caption
from mattebox_backend.world.edits import Recolour
from mattebox_backend.world.render import render
from mattebox_backend.world.scene import Background, Motion, Scene, SceneObject
from mattebox_backend.world.vocabulary import BackgroundColour, Colour, MotionKind, Pattern, Shape

FRAMES_PER_SECOND: Final = 12
REGIONS: Final = (("left", Colour.GREEN, "#28a03c"), ("right", Colour.WHITE, "#f5f5f5"))

_EDIT = """# Two blue circles become two different things, each in its own region; nothing else changes.
# Render it:  mattebox edit edit.toml -o result.mp4
source = "source.mkv"
range = [0, {frames}]
source_prompt = "{source_prompt}"
prompt = "{prompt}"
method = "st-modulator"
backbone = "pocket-sd"
seed = 7
"""

_REGION = """
[[region]]
name = "{name}"
prompt = "{prompt}"
mask = "masks/{name}/%04d.png"
color = "{color}"
"""


def demo_scene() -> Scene:
    """The source: 16 frames at 128 x 128."""
    circles = (
        SceneObject(
            Shape.CIRCLE, Colour.BLUE, 36.0, 48.0, 26.0, motion=Motion(MotionKind.LINEAR, velocity=(0.4, 2.0))
        ),
        SceneObject(
            Shape.CIRCLE,
            Colour.BLUE,
            92.0,
            82.0,
            26.0,
            motion=Motion(MotionKind.LINEAR, velocity=(-0.4, -2.0)),
        ),
    )
    return Scene(circles, Background(BackgroundColour.GRAY, Pattern.GRADIENT))


def write_demo(folder: Path) -> None:
    """Write ``source.mkv`` (lossless), ``masks/NAME/%04d.png`` and ``edit.toml`` into ``folder``; the same
    frames every time.
    """
    scene = demo_scene()
    edited = scene.edit(*(Recolour(n, colour) for n, (_, colour, _) in enumerate(REGIONS)))
    rendered = render(scene)
    folder.mkdir(parents=True, exist_ok=True)
    write_clip(folder / "source.mkv", iter(rendered.frames), fps=Fraction(FRAMES_PER_SECOND))
    for (name, _, _), masks in zip(REGIONS, rendered.masks, strict=True):
        for number, mask in enumerate(masks):
            write_atomically(folder / "masks" / name / f"{number:04d}.png", _png(mask))
    order = range(len(scene.objects))
    text = _EDIT.format(
        frames=scene.frames, source_prompt=caption(scene, order=order), prompt=caption(edited, order=order)
    )
    for name, colour, color in REGIONS:
        text += _REGION.format(name=name, prompt=f"a {colour} {Shape.CIRCLE}", color=color)
    write_atomically(folder / "edit.toml", text.encode())


def _png(mask: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", mask)[1].tobytes())
