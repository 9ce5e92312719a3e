"""Frames ⇄ raw RGB messages: whole pictures, and streams of chunks of at most one mebibyte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mattebox_proto.errors import InvalidMessage
from mattebox_proto.limits import CHUNK_BYTES, size_fault
from mattebox_proto.mattebox.v1 import media_pb2
from mattebox_proto.mattebox.v1.media_pb2 import PixelLayout

Frame = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3) or, with alpha, (H, W, 4); uint8 or uint16; RGB order."""

_LAYOUTS: dict[tuple[str, int], PixelLayout.ValueType] = {
    ("uint8", 3): media_pb2.PIXEL_LAYOUT_RGB8,
    ("uint8", 4): media_pb2.PIXEL_LAYOUT_RGBA8,
    ("uint16", 3): media_pb2.PIXEL_LAYOUT_RGB16,
    ("uint16", 4): media_pb2.PIXEL_LAYOUT_RGBA16,
}
_SAMPLES: dict[int, tuple[str, int]] = {
    media_pb2.PIXEL_LAYOUT_RGB8: ("u1", 3),
    media_pb2.PIXEL_LAYOUT_RGBA8: ("u1", 4),
    media_pb2.PIXEL_LAYOUT_RGB16: ("<u2", 3),
    media_pb2.PIXEL_LAYOUT_RGBA16: ("<u2", 4),
}


def encode_image(frame: Frame) -> media_pb2.Image:
    """One whole picture. Raises InvalidMessage for another shape, dtype or size."""
    layout, data = _raw(frame)
    return media_pb2.Image(width=frame.shape[1], height=frame.shape[0], layout=layout, data=data.tobytes())


def decode_image(message: media_pb2.Image) -> Frame:
    """Returns a writable (H, W, 3 or 4) array."""
    pixels = _blank("an image", message.width, message.height, message.layout)
    if len(message.data) != pixels.nbytes:
        raise InvalidMessage(
            f"an image of {message.width}x{message.height} has {len(message.data)} bytes, not {pixels.nbytes}"
        )
    pixels.reshape(-1).view(np.uint8)[:] = np.frombuffer(message.data, dtype=np.uint8)
    return _native(pixels)


def chunks(frames: Iterable[tuple[int, Frame]]) -> Iterator[media_pb2.FrameChunk]:
    """frames: (index in the clip, frame). Each frame becomes one or more chunks in order."""
    for index, frame in frames:
        layout, data = _raw(frame)
        first = media_pb2.FrameChunk(
            frame=index,
            width=frame.shape[1],
            height=frame.shape[0],
            layout=layout,
            data=data[:CHUNK_BYTES].tobytes(),
        )
        yield first
        for offset in range(CHUNK_BYTES, len(data), CHUNK_BYTES):
            part = data[offset : offset + CHUNK_BYTES].tobytes()
            yield media_pb2.FrameChunk(frame=index, offset=offset, data=part)


@dataclass(slots=True)
class _Partial:
    index: int
    pixels: Frame
    filled: int = 0

    @property
    def complete(self) -> bool:
        return self.filled == self.pixels.nbytes

    def add(self, chunk: media_pb2.FrameChunk) -> None:
        if chunk.frame != self.index:
            raise InvalidMessage(
                f"frame {self.index} is cut off: frame {chunk.frame} begins after {self.filled} of its "
                f"{self.pixels.nbytes} bytes"
            )
        if chunk.offset != self.filled:
            raise InvalidMessage(
                f"frame {self.index}: a chunk at byte {chunk.offset} came where {self.filled} was next"
            )
        end = self.filled + len(chunk.data)
        if not chunk.data or end > self.pixels.nbytes:
            raise InvalidMessage(
                f"frame {self.index}: a chunk ends at byte {end}, the frame has {self.pixels.nbytes}"
                if chunk.data
                else f"frame {self.index}: a chunk is empty"
            )
        target = self.pixels.reshape(-1).view(np.uint8)
        target[self.filled : end] = np.frombuffer(chunk.data, dtype=np.uint8)
        self.filled = end


def assemble(stream: Iterable[media_pb2.FrameChunk]) -> Iterator[tuple[int, Frame]]:
    """Yields (index in the clip, frame) as soon as each is whole.

    Raises InvalidMessage for a gap, a repeated or an overlong chunk, or a stream that ends within a frame.
    """
    partial: _Partial | None = None
    for chunk in stream:
        if partial is None:
            name = f"frame {chunk.frame}"
            partial = _Partial(chunk.frame, _blank(name, chunk.width, chunk.height, chunk.layout))
        partial.add(chunk)
        if partial.complete:
            yield partial.index, _native(partial.pixels)
            partial = None
    if partial is not None:
        raise InvalidMessage(
            f"frame {partial.index} is cut off: the stream ended after {partial.filled} of its "
            f"{partial.pixels.nbytes} bytes"
        )


def _raw(frame: Frame) -> tuple[PixelLayout.ValueType, NDArray[np.uint8]]:
    """The layout, and the frame's bytes as a flat view (a copy only where rows are not contiguous)."""
    layout = _LAYOUTS.get((frame.dtype.name, frame.shape[2])) if frame.ndim == 3 else None
    if layout is None:
        raise InvalidMessage(
            f"a frame is (H, W, 3 or 4) of uint8 or uint16, this is {frame.shape} {frame.dtype}"
        )
    if fault := size_fault(frame.shape[1], frame.shape[0]):
        raise InvalidMessage(f"this frame cannot be sent: {fault}")
    little = frame if frame.dtype == np.uint8 else frame.astype("<u2", copy=False)
    return layout, np.ascontiguousarray(little).reshape(-1).view(np.uint8)


def _blank(name: str, width: int, height: int, layout: int) -> Frame:
    if layout not in _SAMPLES:
        raise InvalidMessage(f"{name} has the pixel layout {layout}, which this version does not know")
    if fault := size_fault(width, height):
        raise InvalidMessage(f"{name} is refused: {fault}")
    sample, channels = _SAMPLES[layout]
    return np.empty((height, width, channels), dtype=sample)


def _native(pixels: Frame) -> Frame:
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16, copy=False)
