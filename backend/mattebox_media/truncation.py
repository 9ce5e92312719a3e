"""Does a container end where it says it ends? Read from its outermost sizes, without decoding.

FFmpeg reads a file that was cut off as if it were a shorter clip; an editor must not.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

_EBML: Final = 0x1A45DFA3
_SEGMENT: Final = 0x18538067
_MP4_FIRST_BOXES: Final = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"}


def cut_off(path: Path) -> str | None:
    """Why the file is known to be cut off, or None when it is whole or its container does not tell.

    Known containers: MP4/MOV (boxes), Matroska/WebM (segment size), AVI (RIFF size).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[4:8] in _MP4_FIRST_BOXES:
            return _mp4_cut_off(file, size)
        if int.from_bytes(head[:4], "big") == _EBML:
            return _matroska_cut_off(file, size)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return _missing(8 + int.from_bytes(head[4:8], "little"), size)
    return None


def _missing(declared: int, size: int) -> str | None:
    if declared <= size:
        return None
    return f"{declared - size} of {declared} bytes are missing at its end"


def _mp4_cut_off(file: BinaryIO, size: int) -> str | None:
    """Walk the top-level boxes: each must end within the file, and one must be the index (``moov``)."""
    position, kinds = 0, set()
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:  # the box runs to the end of the file
            length = size - position
        kinds.add(kind)
        if length < 8:
            break
        position += length
        if position > size:
            return _missing(position, size)
    return None if b"moov" in kinds else "its index (the moov box) is missing"


def _matroska_cut_off(file: BinaryIO, size: int) -> str | None:
    """The segment says how long it is, unless it was written live."""
    while True:
        identifier, unknown = _ebml_number(file, keep_marker=True)
        length, unknown = _ebml_number(file, keep_marker=False)
        if identifier is None or length is None:
            return None
        end = file.tell() + length
        if identifier == _SEGMENT:
            return None if unknown else _missing(end, size)
        if end >= size:
            return None
        file.seek(end)


def _ebml_number(file: BinaryIO, *, keep_marker: bool) -> tuple[int | None, bool]:
    """One variable-length number and whether all its bits are set, which stands for "unknown"."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None, False
    length = 9 - first[0].bit_length()
    raw = first + file.read(length - 1)
    value = int.from_bytes(raw, "big")
    payload = value & ((1 << 7 * length) - 1)
    return (value if keep_marker else payload), payload == (1 << 7 * length) - 1
