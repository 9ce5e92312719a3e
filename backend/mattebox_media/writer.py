"""Writing clips: video files and picture sequences out of frames that arrive one by one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.container.output import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from mattebox_media.atomic import atomic_file, atomic_folder
from mattebox_media.audio import AudioCarrier, open_audio
from mattebox_media.clip import Frame
from mattebox_media.color import BT709, ColorTags
from mattebox_media.errors import FrameMismatch, UnsupportedOutput
from mattebox_media.formats import (
    CONTAINER,
    Encoding,
    OutputFormat,
    check_leftovers,
    check_output,
    encoding,
)
from mattebox_media.pixels import RgbWriter
from mattebox_media.reader import ClipReader
from mattebox_media.sequence import numbered

_MOST_TICKS = 1_000_000  # per second, when times are not on the beat of the frame rate


def write_clip(
    path: str | Path,
    frames: Iterable[Frame],
    *,
    fps: Fraction,
    times: Sequence[Fraction] | None = None,
    color: ColorTags | None = None,
    audio_from: Path | None = None,
    audio_start: Fraction = Fraction(0),
    format: OutputFormat | None = None,  # noqa: A002
    pixel_aspect: Fraction = Fraction(1),
    first_number: int = 0,
) -> int:
    """Write frames, taken one by one, to ``path`` and return how many; see ``check_output`` for the formats.

    ``frames``: (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16 (65535 is white), all alike.
    ``fps``: frames per second. ``times``: seconds of every frame, rising, for a variable rate; counted from
    the first. ``color``: tags to write (BT.709 when None); matrix and range also steer the conversion to
    Y'CbCr.
    ``audio_from``: the sound of this file is carried over, from ``audio_start`` seconds after its first frame
    on, as long as the frames last; a picture sequence holds none. ``first_number``: of a picture sequence.

    The output appears whole or not at all. Raises UnsupportedOutput, FrameMismatch, OutputFull, OutputFailed,
    and whatever ``frames`` raises.
    """
    path = Path(path)
    chosen = check_output(path, format=format)
    if fps <= 0:
        raise FrameMismatch(f"A clip cannot run at {fps} frames per second; give a rate above 0.")
    checked = _checked(frames, path)
    head = list(islice(checked, 3))
    if not head:
        raise FrameMismatch(f"There is no frame to write to {path}; choose a range with at least one.")
    first = head[0]
    height, width, channels = first.shape
    check_output(path, format=chosen, has_alpha=channels == 4)
    settings = encoding(
        chosen,
        width=width,
        height=height,
        deep=first.dtype == np.uint16,
        alpha=channels == 4,
        few=len(head) < 3,
    )
    tags = color or BT709
    rgb = chosen in (OutputFormat.FFV1, OutputFormat.PNG)
    tags = tags.for_rgb() if rgb else tags.for_yuv(width, height)
    pictures = chain(head, checked)
    if chosen is OutputFormat.PNG:
        return _write_sequence(path, pictures, settings, tags, first_number)
    clock = _Clock(fps, times)
    with atomic_file(path) as temporary:
        kind = CONTAINER[path.suffix.lower()]
        options = {"movflags": "+faststart"} if kind in ("mp4", "mov") else {}
        with (
            open_audio(audio_from, kind, audio_start) as audio,
            av.open(f"file:{temporary}", "w", format=kind, container_options=options) as container,
        ):
            stream = _add_video(container, settings, tags, (width, height), clock, pixel_aspect, path)
            audio.add_streams(container)
            return _encode(container, stream, RgbWriter(settings.pixel_format, tags), pictures, clock, audio)


def write_like(
    path: str | Path,
    frames: Iterable[Frame],
    source: ClipReader,
    start: int,
    stop: int,
    *,
    format: OutputFormat | None = None,  # noqa: A002
) -> int:
    """Write frames that stand for frames [start, stop) of ``source``: with its timing, colour, shape of the
    pixels and sound. Everything else as ``write_clip`` does it.
    """
    info, times = source.info, source.times(start, stop)
    return write_clip(
        path,
        frames,
        fps=info.fps,
        times=times if info.variable_frame_rate else None,
        color=info.color,
        audio_from=info.path if info.has_audio else None,
        audio_start=times[0],
        format=format,
        pixel_aspect=info.pixel_aspect,
    )


class _Clock:
    """Presentation times in ticks: on the beat of the frame rate, or as given."""

    def __init__(self, fps: Fraction, times: Sequence[Fraction] | None) -> None:
        self.fps = Fraction(fps)
        self._times = None if times is None else [Fraction(time) - Fraction(times[0]) for time in times]
        if self._times is None:
            self.time_base = 1 / self.fps
            return
        if any(later <= sooner for sooner, later in zip(self._times, self._times[1:], strict=False)):
            raise FrameMismatch("The times of the frames must rise from one frame to the next; sort them.")
        ticks = math.lcm(*(time.denominator for time in self._times), self.fps.numerator)
        self.time_base = Fraction(1, ticks if ticks <= _MOST_TICKS else 90_000)

    def ticks(self, index: int) -> int:
        """The time of frame ``index`` in ``time_base``."""
        if self._times is None:
            return index
        if index >= len(self._times):
            raise FrameMismatch(
                f"There are more frames than the {len(self._times)} times given; give one for each."
            )
        return round(self._times[index] / self.time_base)

    def end(self, count: int) -> Fraction:
        """Seconds at which the last of ``count`` frames ends."""
        if self._times is None:
            return count / self.fps
        if len(self._times) != count:
            raise FrameMismatch(f"There are {count} frames but {len(self._times)} times; give one for each.")
        return self._times[-1] + 1 / self.fps


def _add_video(
    container: OutputContainer,
    settings: Encoding,
    tags: ColorTags,
    size: tuple[int, int],
    clock: _Clock,
    pixel_aspect: Fraction,
    path: Path,
) -> VideoStream:
    try:
        stream = cast(
            VideoStream,
            container.add_stream(settings.encoder, rate=clock.fps, options=dict(settings.options)),
        )
    except (ValueError, av.error.FFmpegError) as error:
        raise UnsupportedOutput(
            f"{path} cannot be written: this build of FFmpeg has no encoder {settings.encoder}; "
            f"reinstall PyAV from its wheel."
        ) from error
    context = stream.codec_context
    context.width, context.height = size
    context.pix_fmt = settings.pixel_format
    context.time_base = clock.time_base
    context.color_primaries, context.color_trc = tags.primaries_code, tags.transfer_code
    context.colorspace, context.color_range = tags.matrix_code, tags.range_code
    if pixel_aspect != 1:
        context.sample_aspect_ratio = pixel_aspect
    if settings.codec_tag:
        context.codec_tag = settings.codec_tag
    context.thread_type = "AUTO"
    return stream


def _encode(
    container: OutputContainer,
    stream: VideoStream,
    to_video: RgbWriter,
    pictures: Iterator[Frame],
    clock: _Clock,
    audio: AudioCarrier,
) -> int:
    count = 0
    for picture in pictures:
        frame = to_video(picture)
        frame.pts, frame.time_base = clock.ticks(count), clock.time_base
        container.mux(stream.encode(frame))
        # Sound goes in beside the pictures, else the container would hold one of them back in memory.
        audio.mux_until(container, clock.ticks(count) * clock.time_base)
        count += 1
    container.mux(stream.encode(None))
    audio.finish(container, clock.end(count))
    return count


def _write_sequence(
    pattern: Path, pictures: Iterator[Frame], settings: Encoding, tags: ColorTags, first_number: int
) -> int:
    to_video = RgbWriter(settings.pixel_format, tags)
    with atomic_folder(pattern.parent) as folder:
        count = 0
        for picture in pictures:
            context = cast(VideoCodecContext, VideoCodecContext.create(settings.encoder, "w"))
            context.height, context.width = picture.shape[:2]
            context.pix_fmt, context.time_base = settings.pixel_format, Fraction(1, 25)
            context.options = dict(settings.options)
            file = folder / numbered(pattern, first_number + count).name
            file.write_bytes(b"".join(bytes(packet) for packet in context.encode(to_video(picture))))
            count += 1
        check_leftovers(pattern, range(first_number, first_number + count))
    return count


def _checked(frames: Iterable[Frame], path: Path) -> Iterator[Frame]:
    """The frames, each checked to be a picture and like the first. Raises FrameMismatch."""
    layout: tuple[tuple[int, ...], np.dtype[np.generic]] | None = None
    for index, frame in enumerate(frames):
        if frame.ndim != 3 or frame.shape[2] not in (3, 4) or frame.dtype not in (np.uint8, np.uint16):
            raise FrameMismatch(
                f"Frame {index} for {path} is {frame.dtype} of shape {frame.shape}; "
                f"give (height, width, 3 or 4) of uint8 or uint16."
            )
        layout = layout or (frame.shape, frame.dtype)
        if (frame.shape, frame.dtype) != layout:
            raise FrameMismatch(
                f"Frame {index} for {path} is {frame.dtype} of shape {frame.shape}, "
                f"the first one is {layout[1]} of shape {layout[0]}; all frames of a clip must be alike."
            )
        yield frame
