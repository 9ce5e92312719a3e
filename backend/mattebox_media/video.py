"""Video files: what they are, and decoders that give the exact frame of an index."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av.error
import numpy as np
from av.container.input import InputContainer
from av.stream import Discard
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from mattebox_media.clip import ClipInfo, Frame
from mattebox_media.color import ColorTags
from mattebox_media.demux import open_container, video_stream
from mattebox_media.errors import DamagedFrame, EmptyClip
from mattebox_media.index import FrameIndex, build_index, packet_marks
from mattebox_media.known import KnownVideo, KnownVideos
from mattebox_media.orientation import Orientation
from mattebox_media.pixels import RgbReader, bit_depth, has_alpha

_KNOWN = KnownVideos()


class VideoSource:
    """A video file: its description, its frame index, and decoders on demand."""

    def __init__(self, path: Path) -> None:
        """Reads the whole file and decodes one frame, unless it is one of the last few and unchanged.

        Raises ClipNotFound, NotAVideo, TruncatedClip, EmptyClip, DamagedFrame.
        """
        key = _KNOWN.key(path)
        known = _KNOWN.get(key)
        self._opened: _FrameStream | None = None
        if known is None:
            known, self._opened = _examine(path)
            _KNOWN.put(key, known)
        self._index = known.index
        self._orientation = known.orientation
        self.info = replace(known.info, path=path)

    def time(self, frame: int) -> Fraction:
        """Seconds from the first frame to this one, exact."""
        return int(self._index.pts[frame] - self._index.pts[0]) * self._index.time_base

    def keyframe_before(self, frame: int) -> int:
        """The frame index at which decoding for ``frame`` starts."""
        return self._index.keyframe_before(frame)

    def files(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.info.path,)

    def open_decoder(self) -> VideoDecoder:
        """A decoder of its own, with its own open file; the first one goes on from opening the clip."""
        stream, self._opened = self._opened, None
        return VideoDecoder(self.info, stream or _FrameStream(self.info.path, self._index), self._orientation)

    def close(self) -> None:
        """Close what opening the clip left open."""
        stream, self._opened = self._opened, None
        if stream is not None:
            stream.close()


def _examine(path: Path) -> tuple[KnownVideo, _FrameStream]:
    """Reads the file through. The open container goes on as the first decoder: opening one takes as long as
    several frames.
    """
    container = open_container(path)
    try:
        stream = video_stream(container, path)
        index = build_index(container, stream, path)
        average_rate, aspect = stream.average_rate, stream.sample_aspect_ratio
        has_audio, codec = bool(container.streams.audio), stream.codec_context.codec.canonical_name
        opened = _FrameStream(path, index, container)
        first = opened.first()
    except BaseException:
        container.close()
        raise
    orientation = Orientation.of(first)
    width, height = orientation.shown_size(first.width, first.height)
    fps, variable = _frame_rate(opened.index, average_rate)
    if aspect and orientation.transpose:
        aspect = 1 / aspect
    info = ClipInfo(
        path=path,
        kind="video",
        width=width,
        height=height,
        frame_count=len(opened.index.pts),
        fps=fps,
        bit_depth=bit_depth(first.format),
        has_alpha=has_alpha(first.format),
        has_audio=has_audio,
        rotation=orientation.degrees,
        codec=codec,
        pixel_format=first.format.name,
        color=ColorTags.from_codes(
            first.color_primaries, first.color_trc, first.colorspace, first.color_range
        ),
        variable_frame_rate=variable,
        pixel_aspect=aspect or Fraction(1),
    )
    return KnownVideo(opened.index, info, orientation), opened


class VideoDecoder:
    """Decodes frames by index from one open file; reading onwards is cheap, a jump costs a seek.

    Not thread-safe: one thread at a time.
    """

    def __init__(self, info: ClipInfo, stream: _FrameStream, orientation: Orientation) -> None:
        self._info = info
        self._stream = stream
        self._stored_size = orientation.shown_size(info.width, info.height)
        self._to_rgb = RgbReader(VideoFormat(info.pixel_format), info.color, orientation)

    @property
    def position(self) -> int | None:
        """The frame that is next without a seek, or None."""
        return self._stream.position

    def read(self, frame: int) -> Frame:
        """Frame ``frame`` (0-based, in range), read-only. Raises DamagedFrame."""
        decoded = self._stream.frame(frame)
        if (decoded.width, decoded.height) != self._stored_size:
            width, height = self._stored_size
            raise DamagedFrame(
                self._info.path, frame, f"it is {decoded.width}x{decoded.height}, the clip {width}x{height}"
            )
        if decoded.format.name != self._info.pixel_format:
            decoded = decoded.reformat(format=self._info.pixel_format, threads=1)
        return self._to_rgb(decoded)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class _FrameStream:
    """The decoded frames of a file, positioned by frame index."""

    def __init__(self, path: Path, index: FrameIndex, container: InputContainer | None = None) -> None:
        """``container``: one that is open already; it is the stream's from now on."""
        self.position: int | None = None
        self.index = index
        self._path = path
        self._begin(container or open_container(path))

    def _begin(self, container: InputContainer) -> None:
        self._container = container
        self._video = video_stream(self._container, self._path)
        self._video.thread_type = "AUTO"
        for other in self._container.streams:
            if other is not self._video:
                other.discard = Discard.all
        # Matroska seeks by presentation time, the others by decoding time.
        self._by_pts = "matroska" in self._container.format.name
        self._frames = self._decode(sought=False)
        self._count = 0

    def close(self) -> None:
        self._container.close()
        self.position = None

    def first(self) -> VideoFrame:
        """The first frame that the decoder shows; the stream stays at it. Raises EmptyClip and DamagedFrame.

        Packets before it leave the index: a clip cut out of an open group of pictures begins with some that
        no decoder can show, for they need a keyframe that is gone.
        """
        frame = self._next() if self._seek(0) else None
        if frame is None or self.index.counted or frame.pts != self.index.pts[0]:
            self._restart()
            frame = self._next()
        if frame is None:
            raise EmptyClip(
                f"{self._path} has {len(self.index.pts)} packets of video but no frame decodes; "
                f"export it again."
            )
        if not self.index.counted and frame.pts is not None:
            kept = self.index.pts >= frame.pts
            self.index = replace(self.index, pts=self.index.pts[kept], key_of=self.index.key_of[kept])
        self._frames = chain([frame], self._frames)
        self.position = 0
        return frame

    def _next(self) -> VideoFrame | None:
        try:
            return next(self._frames, None)
        except av.error.FFmpegError as error:
            raise DamagedFrame(self._path, 0, _reason(error)) from error

    def _restart(self) -> None:
        """Open the file anew, at its head."""
        self.close()
        self._begin(open_container(self._path))

    def frame(self, wanted: int) -> VideoFrame:
        """The frame, by decoding onwards where that is no detour, else from the keyframe before."""
        if self.position is not None and self.index.keyframe_before(wanted) <= self.position <= wanted:
            with contextlib.suppress(DamagedFrame):
                found = self._advance(wanted)
                if found is not None:
                    return found
        key = int(self.index.key_of[wanted])
        # A key whose decoder needs a run-up (intra refresh), or a seek that lands late, shows as a skipped
        # frame: then start earlier, and in the end at the head of the file.
        for start in (key, key - 1, key - 4):
            if start >= 0 and self._seek(start):
                found = self._advance(wanted)
                if found is not None:
                    return found
        self._restart()
        found = self._advance(wanted)
        if found is None:
            raise DamagedFrame(self._path, wanted, "the decoder leaves it out")
        return found

    def _seek(self, key: int) -> bool:
        """Go to a keyframe of the index; False when the container cannot."""
        target = self.index.key_pts[key] if self._by_pts else self.index.key_dts[key]
        try:
            self._container.seek(int(target), stream=self._video)
        except av.error.FFmpegError:
            return False
        self._frames = self._decode(sought=True)
        return True

    def _decode(self, *, sought: bool) -> Iterator[VideoFrame]:
        """Decode from where the container stands.

        After a seek every packet must be one of the index, in its order, else the frames end: a container
        without an index of its own (MPEG program streams) may hand out wrong times then, and a wrong frame is
        worse than a slow one.
        """
        place: int | None = None
        for packet in self._container.demux(self._video):
            if sought and packet.size:
                place = self.index.packet_at(packet) if place is None else place + 1
                packets = self.index.packets
                if place is None or place >= len(packets) or tuple(packets[place]) != packet_marks(packet):
                    return
            yield from packet.decode()

    def _advance(self, wanted: int) -> VideoFrame | None:
        """Decode onwards to the frame; None when it is skipped or none comes. Raises DamagedFrame."""
        self.position = None
        target = int(self.index.pts[wanted])
        try:
            for frame in self._frames:
                shown = frame.pts
                if self.index.counted:
                    shown, self._count = self._count, self._count + 1
                if shown is None or shown < target:
                    continue
                if shown > target:
                    return None
                self.position = wanted + 1
                return frame
        except av.error.EOFError:
            return None
        except av.error.FFmpegError as error:
            raise DamagedFrame(self._path, wanted, _reason(error)) from error
        return None


def _reason(error: av.error.FFmpegError) -> str:
    return (error.strerror or "unknown decoder error").lower()


def _frame_rate(index: FrameIndex, nominal: Fraction | None) -> tuple[Fraction, bool]:
    """Frames per second (the average), and whether the time between frames varies by more than rounding."""
    count = len(index.pts)
    ticks = int(index.pts[-1] - index.pts[0])
    if count < 2 or ticks <= 0:
        return nominal or Fraction(25), False
    even = index.pts[0] + np.arange(count) * (ticks / (count - 1))
    variable = bool(np.abs(index.pts - even).max() > 1.01)
    measured = Fraction(count - 1) / (ticks * index.time_base)
    if not variable and nominal and abs(nominal / measured - 1) <= Fraction(2, ticks):
        return nominal, False
    return measured.limit_denominator(1_001_000), variable
