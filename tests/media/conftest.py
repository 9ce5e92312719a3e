"""Clips made on the spot, each frame stamped with its own number in a way that lossy codecs cannot blur."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]
BITS = 8


def stamped(index: int, width: int = 96, height: int = 64, channels: int = 3) -> Array:
    """``index`` as eight black or white columns, most significant first, and a coloured foot."""
    picture = np.full((height, width, channels), 128, np.uint8)
    for bit in range(BITS):
        column = slice(bit * width // BITS, (bit + 1) * width // BITS)
        picture[: height * 3 // 4, column, :3] = 235 if index >> (BITS - 1 - bit) & 1 else 16
    picture[height * 3 // 4 :, :, :3] = (180, 90, 40)
    return picture


def stamp_of(picture: Array) -> int:
    """The number that ``stamped`` wrote."""
    height, width = picture.shape[:2]
    values = picture[height // 3, [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)], 1]
    half = 128 if picture.dtype == np.uint8 else 128 * 257
    return int("".join("1" if value > half else "0" for value in values), 2)


def write_video(
    path: Path,
    indices: Iterable[int],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    rate: int | Fraction = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotate: float | None = None,
    matrix: Sequence[int] | None = None,
    tags: tuple[int, int, int, int] | None = None,
    tone: int | None = None,
    container_format: str | None = None,
) -> Path:
    """Stamped frames straight through PyAV, so that the reader meets files that our writer did not make."""
    with av.open(
        str(path), "w", format=container_format, container_options=container_options or {}
    ) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], pixel_format
        time_base = time_base or 1 / Fraction(rate)
        stream.codec_context.time_base = time_base
        if rotate is not None:
            stream.set_display_rotation(rotate)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if tags is not None:
            context = stream.codec_context
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        sound = None
        if tone is not None:
            sound = container.add_stream("aac", rate=48000)
            sound.codec_context.layout = "mono"
        indices = list(indices)
        for count, index in enumerate(indices):
            frame = av.VideoFrame.from_ndarray(stamped(index, *size), format="rgb24")
            frame = frame.reformat(format=pixel_format, threads=1)
            frame.pts = pts[count] if pts is not None else count
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            for frame in beeps(Fraction(len(indices)) / Fraction(rate), tone):
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def beeps(seconds: Fraction, hertz: int, rate: int = 48000) -> Iterable[av.AudioFrame]:
    """Silence with a beep of 50 ms at every half second: what is where can be heard."""
    total = int(seconds * rate)
    time = np.arange(total) / rate
    wave = np.where(time % 0.5 < 0.05, 0.5 * np.sin(2 * np.pi * hertz * time), 0).astype(np.float32)
    for begin in range(0, total, 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, begin : begin + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        yield frame


def onsets(path: Path) -> list[float]:
    """Seconds, after the first picture, at which the beeps of a file begin."""
    with av.open(str(path)) as container:
        begin = 0.0
        if container.streams.video:
            video = container.streams.video[0]
            begin = float((video.start_time or 0) * video.time_base)
        stream = container.streams.audio[0]
        samples, times = [], []
        resampler = av.AudioResampler("fltp", "mono", 48000)
        for frame in container.decode(stream):
            for part in resampler.resample(frame):
                wave = part.to_ndarray()[0]
                samples.append(np.abs(wave))
                times.append(float(part.pts * part.time_base) + np.arange(len(wave)) / 48000 - begin)
    loud = np.concatenate(samples) > 0.1
    when = np.concatenate(times)[loud]
    when = when[when >= 0]
    return [float(t) for t, gap in zip(when, np.diff(when, prepend=-1.0), strict=True) if gap > 0.1]


def patch_edit_list(path: Path, media_time: int) -> None:
    """Make the first track of an MP4 begin at ``media_time`` (its ticks), as a trim without encoding does."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    version = data[at + 4]
    assert version == 0
    struct.pack_into(">i", data, at + 4 + 4 + 4 + 4, media_time)
    path.write_bytes(data)


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    return write_video


@pytest.fixture(scope="session")
def stamp() -> Callable[..., Array]:
    return stamped


@pytest.fixture(scope="session")
def read_stamp() -> Callable[[Array], int]:
    return stamp_of


@pytest.fixture(scope="session")
def beep_onsets() -> Callable[[Path], list[float]]:
    return onsets


@pytest.fixture(scope="session")
def trim_by_edit_list() -> Callable[[Path, int], None]:
    return patch_edit_list
