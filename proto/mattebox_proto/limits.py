"""Bounds that both sides keep: a decoder checks them before it allocates anything."""

from __future__ import annotations

MAX_SIDE = 16384
"""Pixels along one side of a frame or a mask."""

MAX_PIXELS = 8192 * 8192
"""Pixels of one frame or mask."""

MAX_FRAMES = 100_000
"""Frames of one edit."""

CHUNK_BYTES = 1 << 20
"""Bytes of pixel data in one streamed message, at most."""

MAX_MESSAGE_BYTES = 256 << 20
"""Bytes of one message, at most; the masks of an edit travel in one."""

MAX_PICTURE_BYTES = MAX_MESSAGE_BYTES * 3 // 4
"""Of an edit's references and condition pictures together: the masks travel in the same message."""


def size_fault(width: int, height: int) -> str:
    """Says what is wrong with a picture's size; empty when it is fine."""
    if width < 1 or height < 1:
        return f"its size is {width}x{height}; both sides must be at least 1"
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        return f"its size is {width}x{height}; the limit is {MAX_SIDE} a side and {MAX_PIXELS} pixels"
    return ""
