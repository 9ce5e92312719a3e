"""Masks ⇄ run-length messages, lossless. A 4K painted mask takes a few milliseconds and a few kilobytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from mattebox_proto.errors import InvalidMessage
from mattebox_proto.limits import MAX_FRAMES, size_fault
from mattebox_proto.mattebox.v1 import media_pb2


def encode_mask(mask: NDArray[np.uint8]) -> media_pb2.Mask:
    """mask: (H, W) uint8, 0 (keep) to 255 (edit). Raises InvalidMessage for another shape, dtype or size."""
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise InvalidMessage(f"a mask is (H, W) uint8, this is {mask.shape} {mask.dtype}")
    height, width = mask.shape
    if fault := size_fault(width, height):
        raise InvalidMessage(f"this mask cannot be sent: {fault}")
    flat = np.ascontiguousarray(mask).reshape(-1)
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(starts, append=flat.size)
    return media_pb2.Mask(width=width, height=height, lengths=lengths.tolist(), values=flat[starts].tobytes())


def decode_mask(message: media_pb2.Mask) -> NDArray[np.uint8]:
    """Returns (H, W) uint8. Raises InvalidMessage when the runs do not make up exactly one mask."""
    width, height, runs = message.width, message.height, len(message.lengths)
    if fault := size_fault(width, height):
        raise InvalidMessage(f"a mask is refused: {fault}")
    if runs != len(message.values):
        raise InvalidMessage(f"a mask has {runs} run lengths but {len(message.values)} values")
    lengths = np.fromiter(message.lengths, dtype=np.int64, count=runs)
    if runs and lengths.min() == 0:
        raise InvalidMessage(f"a mask has an empty run, number {int(lengths.argmin())}")
    total = int(lengths.sum())
    if total != width * height:
        raise InvalidMessage(f"a mask's runs add up to {total} pixels, {width}x{height} has {width * height}")
    values = np.frombuffer(message.values, dtype=np.uint8)
    return np.repeat(values, lengths).reshape(height, width)


def encode_track(masks: Iterable[NDArray[np.uint8]]) -> media_pb2.MaskTrack:
    """masks: (F, H, W) uint8, or any iterable of (H, W) of one size. A repeated frame costs two bytes."""
    track = media_pb2.MaskTrack()
    before: NDArray[np.uint8] | None = None
    for index, mask in enumerate(masks):
        if before is not None and mask.shape != before.shape:
            raise InvalidMessage(
                f"mask {index} is {_size(mask)}, the one before it {_size(before)}; a region has one size"
            )
        if before is not None and np.array_equal(mask, before):
            track.frames.add(repeat=True)
        else:
            track.frames.add(mask=encode_mask(mask))
        before = mask
    return track


def decode_frames(track: media_pb2.MaskTrack) -> Iterator[NDArray[np.uint8]]:
    """Yields one (H, W) uint8 per frame; a repeat yields the very array of the frame before."""
    if len(track.frames) > MAX_FRAMES:
        raise InvalidMessage(f"a region has masks for {len(track.frames)} frames; the limit is {MAX_FRAMES}")
    before: NDArray[np.uint8] | None = None
    for index, frame in enumerate(track.frames):
        content = frame.WhichOneof("content")
        if content == "mask":
            mask = decode_mask(frame.mask)
            if before is not None and mask.shape != before.shape:
                raise InvalidMessage(
                    f"mask {index} is {_size(mask)}, the one before it {_size(before)}; a region has one size"
                )
            before = mask
        elif content is None or not frame.repeat:
            raise InvalidMessage(f"mask {index} is empty: it is neither a mask nor a repeat")
        if before is None:
            raise InvalidMessage("mask 0 repeats the frame before it, but there is none")
        yield before


def decode_track(
    track: media_pb2.MaskTrack, *, frames: int, height: int, width: int, name: str = "region"
) -> NDArray[np.uint8]:
    """Returns (F, H, W) uint8 of exactly the size asked for; raises InvalidMessage, which names `name`."""
    if len(track.frames) != frames:
        raise InvalidMessage(f"{name} has {len(track.frames)} masks, the edit has {frames} frames")
    if fault := size_fault(width, height):
        raise InvalidMessage(f"{name}: {fault}")
    for index, frame in enumerate(track.frames):
        size = (frame.mask.width, frame.mask.height)
        if frame.WhichOneof("content") == "mask" and size != (width, height):
            raise InvalidMessage(f"{name}: mask {index} is {size[0]}x{size[1]}, the clip is {width}x{height}")
    masks = np.empty((frames, height, width), dtype=np.uint8)
    for index, mask in enumerate(decode_frames(track)):
        masks[index] = mask
    return masks


def _size(mask: NDArray[np.uint8]) -> str:
    return "x".join(str(side) for side in reversed(mask.shape))
