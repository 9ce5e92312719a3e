"""Small pictures for a filmstrip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from mattebox_media.clip import Frame
from mattebox_media.reader import ClipReader


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """``image`` (h, w, 3) uint8 stands at ``position`` of the strip and shows ``frame``, its keyframe."""

    position: int
    frame: int
    image: NDArray[np.uint8]


def keyframe_thumbnails(reader: ClipReader, count: int, height: int) -> Iterator[Thumbnail]:
    """``count`` pictures of ``height`` pixels, spread evenly over the clip, made one by one as they are asked
    for.

    Each shows the last keyframe up to its position, which is quick to decode, not the exact frame.
    Transparency is dropped, 16 bit becomes 8. Raises ValueError for a count or height below 1, DamagedFrame.
    """
    if count < 1 or height < 1:
        raise ValueError(
            f"A strip of {count} thumbnails of {height} pixels cannot be made; give 1 or more of both."
        )
    info = reader.info
    width = max(1, round(height * info.width * float(info.pixel_aspect) / info.height))
    shown: tuple[int, NDArray[np.uint8]] | None = None
    for number in range(count):
        position = min(info.frame_count - 1, (2 * number + 1) * info.frame_count // (2 * count))
        frame = reader.keyframe_before(position)
        if shown is None or shown[0] != frame:
            shown = (frame, _shrunk(reader.frame(frame), width, height))
        yield Thumbnail(position, frame, shown[1])


def _shrunk(frame: Frame, width: int, height: int) -> NDArray[np.uint8]:
    picture = frame[..., :3] if frame.dtype == np.uint8 else (frame[..., :3] >> 8).astype(np.uint8)
    source = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    small = source.reformat(width=width, height=height, interpolation=Interpolation.AREA, threads=1)
    return np.ascontiguousarray(small.to_ndarray())
