"""The frame index of a video: times and keyframes of every packet, read once without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av.error
import numpy as np
from av.container.input import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mattebox_media.demux import open_container, video_stream
from mattebox_media.errors import DamagedFrame, EmptyClip, TruncatedClip
from mattebox_media.truncation import cut_off

_NO_TIME: Final = -(2**62)


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """Where every frame of a stream is.

    ``pts``: (F,) int64, presentation times in ``time_base``, rising; frame i is the one shown at ``pts[i]``.
    ``key_pts``, ``key_dts``: (K,) int64, the keyframes in decoding order.
    ``key_of``: (F,) int64, the last keyframe from which frame i decodes exactly: stored no later than the
    frame and shown no later. (Frames shown before the keyframe they are stored after, as in an open group of
    pictures, need the keyframe before.)
    ``packets``: (P, 2) int64, presentation time and bytes of every packet as stored, by which a decoder knows
    where a seek has landed.
    ``counted``: the file has no usable times; ``pts`` are 0, 1, 2, … and frames are counted from the start.
    """

    time_base: Fraction
    pts: NDArray[np.int64]
    key_pts: NDArray[np.int64]
    key_dts: NDArray[np.int64]
    key_of: NDArray[np.int64]
    packets: NDArray[np.int64]
    counted: bool = False

    def packet_at(self, packet: Packet[Any]) -> int | None:
        """The place of a packet in the file, or None when the index has no such packet (or several)."""
        if len(self.packets) == 0:
            return None
        places = np.flatnonzero((self.packets == packet_marks(packet)).all(axis=1))
        return int(places[0]) if len(places) == 1 else None

    def keyframe_before(self, frame: int) -> int:
        """The frame index at which decoding for ``frame`` starts."""
        return max(0, int(np.searchsorted(self.pts, self.key_pts[self.key_of[frame]])))


def build_index(container: InputContainer, stream: VideoStream, path: Path) -> FrameIndex:
    """Read the file through once, decoding nothing. Raises TruncatedClip and EmptyClip.

    Leaves the container at its end. Packets that an edit list hides, and those that no decoder shows, are
    left out.
    """
    packets, failure = _read_packets(container, stream)
    reason = cut_off(path) or failure
    time_base = stream.time_base or Fraction(1, 90000)
    if reason is not None:
        raise _truncated(path, packets, reason)
    if not packets:
        raise EmptyClip(f"{path} has a video stream without a single frame; export it again.")
    shown = [packet for packet in packets if not packet.hidden]
    if not shown:
        raise EmptyClip(f"{path} shows no frame: its edit list hides all {len(packets)}; export it again.")
    times = [packet.pts for packet in shown]
    # AVI numbers its packets as stored; where frames are stored out of order that is no presentation time.
    astray = container.format.name == "avi" and stream.codec_context.name in ("h264", "hevc")
    if astray or None in times or len(set(times)) != len(times):
        return _counted_index(path)
    return _timed_index(packets, time_base)


def packet_marks(packet: Packet[Any]) -> tuple[int, int]:
    """What tells a packet from the others. (Not its decoding time: Matroska's is guessed.)"""
    return _or_none(packet.pts), packet.size


def _or_none(time: int | None) -> int:
    return _NO_TIME if time is None else time


@dataclass(frozen=True, slots=True)
class _PacketHead:
    pts: int | None
    dts: int | None
    size: int
    key: bool
    hidden: bool
    damaged: bool


def _read_packets(container: InputContainer, stream: VideoStream) -> tuple[list[_PacketHead], str | None]:
    heads: list[_PacketHead] = []
    failure = None
    try:
        for packet in container.demux(stream):
            if packet.size == 0:  # the flush packet at the end
                continue
            heads.append(
                _PacketHead(
                    packet.pts,
                    packet.dts,
                    packet.size,
                    packet.is_keyframe,
                    packet.is_discard or _never_shown(packet, stream),
                    packet.is_corrupt,
                )
            )
    except av.error.FFmpegError as error:
        failure = f"reading stops after {len(heads)} frames ({error.strerror})"
    if failure is None and heads and heads[-1].damaged:
        failure = "its last frame is incomplete"
    return heads, failure


def _never_shown(packet: Packet[Any], stream: VideoStream) -> bool:
    """VP8 stores its alternate reference pictures as packets of their own, with show_frame (bit 4) off."""
    return stream.codec_context.name in ("vp8", "libvpx") and not bytes(packet)[0] & 0x10


def _truncated(path: Path, packets: list[_PacketHead], reason: str) -> TruncatedClip:
    """Name the last frame that is surely whole: nothing that is missing can be shown before it."""
    whole = [packet for packet in packets if not packet.damaged]
    times = sorted(p.pts for p in whole if p.pts is not None and not p.hidden)
    last_dts = whole[-1].dts if whole else None
    good = len(times) if last_dts is None else sum(1 for pts in times if pts <= last_dts)
    last = good - 1 if good else None
    which = "no frame is known to be whole" if last is None else f"the last good frame is {last}"
    return TruncatedClip(f"{path} is cut off: {reason}; {which}. Copy it again from its source.", last)


def _timed_index(packets: list[_PacketHead], time_base: Fraction) -> FrameIndex:
    marks = np.array([(_or_none(p.pts), p.size) for p in packets], np.int64)
    decode_pts = marks[:, 0]
    shown = np.array([not packet.hidden for packet in packets])
    keys = np.array([packet.key for packet in packets])
    keys[0] = True  # whatever the flags say, decoding has to start somewhere
    key_position = np.flatnonzero(keys)
    key_pts = decode_pts[key_position]
    key_dts = np.array(
        [packets[i].dts if packets[i].dts is not None else packets[i].pts for i in key_position], np.int64
    )
    position = np.flatnonzero(shown)
    position = position[np.argsort(decode_pts[position], kind="stable")]
    pts = decode_pts[position]
    key_of = np.searchsorted(key_position, position, side="right") - 1
    while True:
        too_late = (key_pts[key_of] > pts) & (key_of > 0)
        if not too_late.any():
            break
        key_of[too_late] -= 1
    return FrameIndex(time_base, pts, key_pts, key_dts, key_of.astype(np.int64), marks)


def _counted_index(path: Path) -> FrameIndex:
    """No usable times (a bare elementary stream, some AVI): the one case that decodes all frames to count."""
    with open_container(path) as container:
        stream = video_stream(container, path)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        count = 0
        try:
            for _ in container.decode(stream):
                count += 1
        except av.error.FFmpegError as error:
            raise DamagedFrame(path, count, (error.strerror or "unknown decoder error").lower()) from error
    if count == 0:
        raise EmptyClip(f"{path} has a video stream without a single frame; export it again.")
    zero, none = np.zeros(1, np.int64), np.empty((0, 2), np.int64)
    return FrameIndex(1 / rate, np.arange(count), zero, zero, np.zeros(count, np.int64), none, counted=True)
