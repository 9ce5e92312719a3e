"""What a clip is, before any of its frames is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

from mattebox_media.color import ColorTags

# (H, W, 3) RGB or (H, W, 4) RGB and straight alpha; uint8, or uint16 at full scale for more than 8 bit.
Frame: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """One clip, a video file or a picture sequence.

    ``width`` and ``height`` are pixels as shown: after the rotation flag, ``rotation`` degrees
    counter-clockwise (0, 90, 180 or 270), which the reader applies. ``fps`` is frames per second, the average
    where ``variable_frame_rate``. ``bit_depth`` is that of a stored component; frames of more than 8 bit are
    read as uint16 at full scale (65535 is white). ``pixel_aspect`` is a pixel's width over its height.
    """

    path: Path
    kind: Literal["video", "sequence"]
    width: int
    height: int
    frame_count: int
    fps: Fraction
    bit_depth: int
    has_alpha: bool
    has_audio: bool
    rotation: int
    codec: str
    pixel_format: str
    color: ColorTags = field(default_factory=ColorTags)
    variable_frame_rate: bool = False
    pixel_aspect: Fraction = Fraction(1)

    @property
    def channels(self) -> int:
        """3 (RGB), or 4 (RGB and straight alpha)."""
        return 4 if self.has_alpha else 3

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame as the reader hands it out."""
        return self.width * self.height * self.channels * (1 if self.bit_depth <= 8 else 2)
