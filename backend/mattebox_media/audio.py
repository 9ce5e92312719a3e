"""Carrying a clip's sound over: copied where the new container holds its codec, encoded anew where not."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, cast

import av.error
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.container.output import OutputContainer
from av.packet import Packet
from numpy.typing import NDArray

from mattebox_media.demux import open_container, video_stream
from mattebox_media.errors import NotAVideo
from mattebox_media.sequence import is_pattern

_PCM: Final = frozenset(
    {"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be", "pcm_f32le"}
)
_COPIED: Final = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}),
    "mov": frozenset({"aac", "mp3", "ac3", "eac3", "alac"}) | _PCM,
    "matroska": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "vorbis", "flac", "dts", "pcm_s16le",
                           "pcm_s24le", "pcm_s32le", "pcm_f32le"}),
}  # fmt: skip
# Encoder and its sample format for what is not copied; lossless where the container has a lossless codec.
_ENCODED: Final = {"mp4": ("aac", "fltp"), "mov": ("pcm_s24le", "s32"), "matroska": ("flac", "s32")}
_USUAL_LAYOUTS: Final = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_AAC_BIT_RATE: Final = 256_000
_INTERLEAVING: Final = Fraction(1)  # seconds by which the tracks of a file may lie apart


class _Track(Protocol):
    def feed(self, packet: Packet[AudioStream]) -> Iterator[Packet[Any]]: ...
    def finish(self, end: Fraction) -> Iterator[Packet[Any]]: ...


class AudioCarrier:
    """The sound of one file on its way into another; with no source it does nothing.

    Times are seconds of the new clip: 0 is its first frame.
    """

    def __init__(self, source: InputContainer | None, container: str, origin: Fraction) -> None:
        """``origin``: the time of the source (seconds on its own clock) that becomes 0."""
        self._source = source
        self._container = container
        self._origin = origin
        self._tracks: dict[int, _Track] = {}
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._next: Packet[AudioStream] | None = None
        if source is not None:
            # A bit before the start: codecs need a run-up.
            source.seek(max(0, int((origin - 1) * 1_000_000)))
            self._packets = source.demux(source.streams.audio)
            self._step()

    def add_streams(self, container: OutputContainer) -> None:
        """One stream in the new file for each of the source's."""
        if self._source is None:
            return
        for stream in self._source.streams.audio:
            if _copyable(stream, self._container):
                self._tracks[stream.index] = _CopiedTrack(stream, container, self._container, self._origin)
            elif stream.codec_context is not None:
                self._tracks[stream.index] = _EncodedTrack(stream, container, self._container, self._origin)

    def mux_until(self, container: OutputContainer, time: Fraction) -> None:
        """Everything that ends before ``time``."""
        while self._next is not None and _end(self._next) - self._origin <= time:
            self._feed(container, self._next)
            self._step()

    def finish(self, container: OutputContainer, end: Fraction) -> None:
        """The rest up to ``end``, where the new clip's last frame ends."""
        while self._next is not None and _start(self._next) - self._origin < end + _INTERLEAVING:
            if _start(self._next) - self._origin < end:
                self._feed(container, self._next)
            self._step()
        for track in self._tracks.values():
            for packet in track.finish(end):
                container.mux(packet)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._source is not None:
            self._source.close()

    def _feed(self, container: OutputContainer, packet: Packet[AudioStream]) -> None:
        track = self._tracks.get(packet.stream_index)
        if track is not None:
            for made in track.feed(packet):
                container.mux(made)

    def _step(self) -> None:
        """The next packet that has a time and content."""
        try:
            self._next = next((p for p in self._packets if p.size and p.pts is not None), None)
        except av.error.FFmpegError:
            self._next = None  # the sound stops early; its pictures are checked by the reader, not here


def open_audio(path: Path | None, container: str, start: Fraction) -> AudioCarrier:
    """The sound of ``path`` from ``start`` seconds after its first frame (after its beginning where it has no
    picture). Nothing for None, for a picture sequence and for a file without sound.

    ``container``: "mp4", "mov" or "matroska". Raises ClipNotFound, NotAVideo, TruncatedClip.
    """
    if path is None or is_pattern(path):
        return AudioCarrier(None, container, Fraction(0))
    source = open_container(path)
    if not source.streams.audio:
        source.close()
        return AudioCarrier(None, container, Fraction(0))
    try:
        picture = video_stream(source, path)
        begin = (picture.start_time or 0) * (picture.time_base or Fraction(0))
    except NotAVideo:
        begin = Fraction(source.start_time or 0, 1_000_000)
    return AudioCarrier(source, container, begin + start)


class _CopiedTrack:
    """Packets as they are, moved in time; the first may begin before 0 where the container can hide that."""

    def __init__(
        self, source: AudioStream, target: OutputContainer, container: str, origin: Fraction
    ) -> None:
        self._stream = target.add_stream_from_template(source)
        self._time_base = source.time_base or Fraction(1, source.codec_context.sample_rate)
        self._offset = round(origin / self._time_base)
        # MP4 and MOV hide what is before 0 by an edit list: keep the packet that reaches over 0 and one for
        # the codec's run-up. Matroska has no such thing.
        self._hides = container in ("mp4", "mov")
        self._stream.metadata.update(source.metadata)

    def feed(self, packet: Packet[AudioStream]) -> Iterator[Packet[Any]]:
        duration = packet.duration or 0
        begin = (packet.pts or 0) - self._offset
        if begin + 2 * duration <= 0 if self._hides else begin < 0:
            return
        packet.pts = begin
        packet.dts = begin if packet.dts is None else packet.dts - self._offset
        packet.stream = self._stream
        yield packet

    def finish(self, end: Fraction) -> Iterator[Packet[Any]]:
        return iter(())


class _EncodedTrack:
    """Decoded, cut to the sample, encoded anew."""

    def __init__(
        self, source: AudioStream, target: OutputContainer, container: str, origin: Fraction
    ) -> None:
        codec, sample_format = _ENCODED[container]
        self._decoder: AudioCodecContext = source.codec_context
        self._rate = self._decoder.sample_rate
        self._channels = self._decoder.layout.nb_channels
        self._layout = _layout_name(self._decoder)
        self._sample_format = sample_format
        stream = cast(AudioStream, target.add_stream(codec, rate=self._rate))
        self._stream = stream
        stream.codec_context.layout = self._layout
        stream.codec_context.format = sample_format
        if codec == "aac":
            stream.codec_context.bit_rate = _AAC_BIT_RATE
        stream.codec_context.time_base = Fraction(1, self._rate)
        stream.metadata.update(source.metadata)
        self._resampler = AudioResampler(sample_format, self._layout, self._rate)
        self._origin = origin
        self._planar = sample_format.endswith("p")
        self._waiting: NDArray[Any] | None = None  # (channels or 1, samples), not yet encoded
        self._received = 0  # samples from time 0 on that were taken in
        self._sent = 0

    def feed(self, packet: Packet[AudioStream]) -> Iterator[Packet[Any]]:
        for frame in _decoded(packet):
            if frame.pts is not None and frame.time_base is not None:
                yield from self._take(frame, round((frame.pts * frame.time_base - self._origin) * self._rate))

    def finish(self, end: Fraction) -> Iterator[Packet[Any]]:
        wanted = round(end * self._rate) - self._sent
        samples = self._waiting
        if samples is not None and wanted > 0:
            yield from self._encode(samples[:, : wanted * self._per_sample])
        if self._sent:
            yield from self._stream.encode(None)

    @property
    def _per_sample(self) -> int:
        return 1 if self._planar else self._channels

    def _take(self, frame: AudioFrame, position: int) -> Iterator[Packet[Any]]:
        """Samples of a decoded frame that begins ``position`` samples after 0."""
        for converted in self._resampler.resample(frame):
            samples: NDArray[Any] = converted.to_ndarray()
            count = converted.samples
            gap = position - self._received
            if gap > self._rate // 50:  # silence in the source that it stores as a jump in time
                samples = np.pad(samples, ((0, 0), (gap * self._per_sample, 0)))
                count += gap
            elif self._received == 0 and position < 0:
                samples, count = samples[:, -position * self._per_sample :], max(0, count + position)
            position += converted.samples
            self._received += count
            if count:
                waiting = self._waiting
                self._waiting = samples if waiting is None else np.concatenate([waiting, samples], axis=1)
        yield from self._encode_whole_frames()

    def _encode_whole_frames(self) -> Iterator[Packet[Any]]:
        """Encode what is surely wanted: all but the last second, which the end of the clip may cut."""
        if self._waiting is None:
            return
        spare = self._waiting.shape[1] // self._per_sample - self._rate
        if spare > self._rate:
            size = self._stream.codec_context.frame_size or 1024
            count = spare // size * size * self._per_sample
            now, self._waiting = self._waiting[:, :count], self._waiting[:, count:]
            yield from self._encode(now)

    def _encode(self, samples: NDArray[Any]) -> Iterator[Packet[Any]]:
        size = (self._stream.codec_context.frame_size or 1024) * self._per_sample
        for begin in range(0, samples.shape[1], size):
            chunk = np.ascontiguousarray(samples[:, begin : begin + size])
            frame = AudioFrame.from_ndarray(chunk, format=self._sample_format, layout=self._layout)
            frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
            frame.pts = self._sent
            self._sent += chunk.shape[1] // self._per_sample
            yield from self._stream.encode(frame)


def _layout_name(decoder: AudioCodecContext) -> str:
    """The speakers; plain PCM counts its channels without saying which they are."""
    name: str = decoder.layout.name
    return _USUAL_LAYOUTS.get(decoder.layout.nb_channels, name) if "channels" in name else name


def _decoded(packet: Packet[AudioStream]) -> list[AudioFrame]:
    """Its sound; none where it is damaged, which leaves a silence of its length."""
    try:
        return packet.decode()
    except av.error.FFmpegError:
        return []


def _copyable(stream: AudioStream, container: str) -> bool:
    """Never where this build has no decoder: then nothing is known of the sound, and it is left out."""
    if stream.codec_context is None:
        return False
    codec = stream.codec_context.codec.canonical_name
    if codec == "aac" and not stream.codec_context.extradata:
        return False  # ADTS as broadcast streams have it: MP4 wants the header apart
    return codec in _COPIED[container]


def _start(packet: Packet[AudioStream]) -> Fraction:
    return (packet.pts or 0) * packet.time_base


def _end(packet: Packet[AudioStream]) -> Fraction:
    return ((packet.pts or 0) + (packet.duration or 0)) * packet.time_base
