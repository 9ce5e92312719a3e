"""Between FFmpeg's pictures and our arrays: Y'CbCr to RGB and back by the tagged matrix and range.

libswscale does the arithmetic. Its 16-bit RGB counts white as 65280 (255·256) for limited-range Y'CbCr, and
as 2^16 - 2^(16-n) for n-bit full range; ours is 65535 always, so pictures of more than 8 bit are stretched on
the way in and shrunk on the way out. 8-bit 4:2:0 goes through libswscale's fast path, as in every player
built on it; it truncates, so a value may be up to 3 levels under the real number; the same picture always
gives the same array.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from mattebox_media.clip import Frame
from mattebox_media.color import ColorTags
from mattebox_media.orientation import Orientation

# libswscale writes whole vectors, past the end of a row whose width is no multiple of them. One thread then
# mends the next row by writing it; with several the first pixels of a band of rows come out wrong now and
# then.
_ONE_THREAD: Final = 1


def bit_depth(pixel_format: VideoFormat) -> int:
    """Bits of the deepest component."""
    return max(component.bits for component in pixel_format.components)


def has_alpha(pixel_format: VideoFormat) -> bool:
    """Does the format store transparency?"""
    return any(component.is_alpha for component in pixel_format.components)


def _is_yuv(pixel_format: VideoFormat) -> bool:
    return len(pixel_format.components) >= 3 and not pixel_format.is_rgb and not pixel_format.has_palette


class RgbReader:
    """Turns decoded frames of one stream into arrays. Not thread-safe: one per decoder."""

    def __init__(self, pixel_format: VideoFormat, color: ColorTags, orientation: Orientation) -> None:
        self._orientation = orientation
        self._color = color
        self._deep = bit_depth(pixel_format) > 8
        self._yuv = _is_yuv(pixel_format)
        self._bits = bit_depth(pixel_format)
        self._native = pixel_format.name in (
            "gbrp10le",
            "gbrap10le",
            "gbrp12le",
            "gbrap12le",
            "gbrp14le",
            "gbrap14le",
        )
        if self._native:
            self._target = pixel_format.name
        elif self._deep:
            # Planar RGB: libswscale's fast way to 16 bit (several times faster than packed rgb48).
            self._target = "gbrap16le" if has_alpha(pixel_format) else "gbrp16le"
        else:
            self._target = "rgba" if has_alpha(pixel_format) else "rgb24"
        self._full = pixel_format.name.startswith("yuvj") or color.range == "full"
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Frame:
        """The frame as (H, W, 3 or 4), read-only: uint8, or uint16 at full scale."""
        if self._yuv:
            tags = self._color.for_yuv(frame.width, frame.height)
            frame.colorspace = tags.matrix_code
            frame.color_range = 2 if self._full else tags.range_code
        rgb = self._reformatter.reformat(frame, format=self._target, threads=_ONE_THREAD)
        array: Frame = self._interleave(rgb) if self._deep else rgb.to_ndarray()
        array = self._orientation.apply(array)
        array.flags.writeable = False
        return array

    def _interleave(self, planar: VideoFrame) -> Frame:
        """Planar 16-bit GBR(A) to (H, W, C) RGB(A), white at 65535."""
        green, blue, red, *alpha = (_plane(planar, index) for index in range(len(planar.planes)))
        array = np.empty((planar.height, planar.width, 3 + len(alpha)), np.uint16)
        for channel, plane in enumerate((red, green, blue, *alpha)):
            array[..., channel] = self._full_scale(plane, color=channel < 3)
        return array

    def _full_scale(self, plane: NDArray[np.uint16], *, color: bool) -> NDArray[np.uint16]:
        if self._native:
            return (plane << np.uint16(16 - self._bits)) | (plane >> np.uint16(2 * self._bits - 16))
        if not self._yuv:
            return plane
        return _stretch(plane, self._bits, self._full or not color)


class RgbWriter:
    """Turns arrays into frames of one pixel format for an encoder. Not thread-safe: one per file."""

    def __init__(self, pixel_format: str, color: ColorTags) -> None:
        """``color`` must be settled: ``ColorTags.for_yuv`` or ``for_rgb``."""
        self._format = pixel_format
        self._color = color
        target = VideoFormat(pixel_format)
        self._yuv = _is_yuv(target)
        self._bits = bit_depth(target)
        self._reformatter = VideoReformatter()

    def __call__(self, array: Frame) -> VideoFrame:
        """An encodable frame of (H, W, 3 or 4) uint8 or uint16."""
        alpha = array.shape[2] == 4
        if array.dtype == np.uint8:
            source = VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgba" if alpha else "rgb24")
        elif self._yuv:
            shrunk = array.copy()
            shrunk[..., :3] = _shrink(array[..., :3], self._bits, self._color.range == "full")
            source = VideoFrame.from_ndarray(shrunk, format="rgba64le" if alpha else "rgb48le")
        else:
            source = VideoFrame.from_ndarray(
                np.ascontiguousarray(array), format="gbrap16le" if alpha else "gbrp16le"
            )
        source.colorspace, source.color_range = 0, 2
        if not self._yuv:
            frame = self._reformatter.reformat(source, format=self._format, threads=_ONE_THREAD)
        else:
            source.colorspace = self._color.matrix_code
            frame = self._reformatter.reformat(
                source, format=self._format, dst_color_range=self._color.range_code, threads=_ONE_THREAD
            )
            frame.colorspace, frame.color_range = self._color.matrix_code, self._color.range_code
        frame.color_primaries, frame.color_trc = self._color.primaries_code, self._color.transfer_code
        return frame


def _plane(frame: VideoFrame, index: int) -> NDArray[np.uint16]:
    plane = frame.planes[index]
    samples: NDArray[np.uint16] = np.frombuffer(memoryview(plane), np.uint16)
    rows: NDArray[np.uint16] = samples.reshape(-1, plane.line_size // 2)[: plane.height, : plane.width]
    return rows


def _stretch(plane: NDArray[np.uint16], bits: int, full: bool) -> NDArray[np.uint16]:
    """libswscale's white to 65535; what is brighter than white is clipped."""
    significant = bits if full else 8
    if significant >= 16:
        return plane
    white = np.uint16(65536 - (1 << (16 - significant)))
    clipped = np.minimum(plane, white)
    stretched: NDArray[np.uint16] = clipped + (clipped >> np.uint16(significant))
    return stretched


def _shrink(values: NDArray[np.uint16], bits: int, full: bool) -> NDArray[np.uint16]:
    """65535 to libswscale's white: the inverse of ``_stretch`` to one part in 65536."""
    significant = bits if full else 8
    return values if significant >= 16 else values - (values >> np.uint16(significant))
