"""Output formats: what a file ending stands for, which pixels each codec stores, and with which settings."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from mattebox_media.errors import OutputFailed, UnsupportedOutput
from mattebox_media.sequence import is_pattern, numbered, numbers_of


class OutputFormat(StrEnum):
    """How frames are stored.

    H264, HEVC: small files to show; 8-bit frames as 8 bit, uint16 frames as 10 bit, 4:2:0. Pictures of odd
    width or height are stored as 4:4:4, since 4:2:0 has no odd sizes: nothing is padded or cropped, but some
    hardware players refuse 4:4:4. No transparency.
    PRORES: 422 HQ (10 bit); 4444 when there is transparency or an odd width.
    FFV1: lossless RGB at any size: what comes back is bit for bit what was written (8 or 16 bit, with or
    without transparency).
    PNG: a lossless picture sequence, 8 or 16 bit, with or without transparency; holds no sound.
    """

    H264 = "h264"
    HEVC = "hevc"
    PRORES = "prores"
    FFV1 = "ffv1"
    PNG = "png"


# The first format of an ending is its default.
_BY_ENDING: Final = {
    ".mp4": (OutputFormat.H264, OutputFormat.HEVC),
    ".mov": (OutputFormat.PRORES, OutputFormat.H264, OutputFormat.HEVC),
    ".mkv": (OutputFormat.FFV1, OutputFormat.H264, OutputFormat.HEVC, OutputFormat.PRORES),
    ".png": (OutputFormat.PNG,),
}
CONTAINER: Final = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoder of FFmpeg, the pixel format it is fed and its options."""

    encoder: str
    pixel_format: str
    options: dict[str, str] = field(default_factory=dict)
    codec_tag: str | None = None


def check_output(
    path: str | Path,
    *,
    format: OutputFormat | None = None,  # noqa: A002
    has_alpha: bool = False,
) -> OutputFormat:
    """The format that will be written to ``path``, or UnsupportedOutput / OutputFailed before any work is
    done.

    ``format`` None lets the ending decide: .mp4 H.264, .mov ProRes, .mkv FFV1, %04d.png a PNG sequence.
    ``has_alpha``: the frames will have transparency.
    """
    path = Path(path)
    known = _BY_ENDING.get(path.suffix.lower())
    if known is None:
        raise UnsupportedOutput(
            f"{path} ends in {path.suffix!r}; use .mp4 (H.264), .mov (ProRes), .mkv (FFV1, lossless) or "
            f"a picture sequence such as take_%04d.png."
        )
    chosen = format or known[0]
    if chosen not in known:
        raise UnsupportedOutput(
            f"A {path.suffix} file does not hold {chosen.value}; "
            f"it holds {', '.join(f.value for f in known)}."
        )
    if (chosen is OutputFormat.PNG) != is_pattern(path):
        wanted = (
            "a number pattern such as take_%04d.png" if chosen is OutputFormat.PNG else "no % in its name"
        )
        raise UnsupportedOutput(f"{path} cannot be written as {chosen.value}: the name needs {wanted}.")
    if has_alpha and chosen in (OutputFormat.H264, OutputFormat.HEVC):
        raise UnsupportedOutput(
            f"{path} would lose the transparency of the clip, which {chosen.value} cannot store; "
            f"write .mov (ProRes 4444), .mkv (FFV1) or a picture sequence."
        )
    _check_folder(path, chosen)
    return chosen


def check_leftovers(pattern: Path, numbers: range) -> None:
    """Raises OutputFailed where pictures of an earlier, longer sequence would stand beside the new ones."""
    left = [number for number in numbers_of(pattern) if number not in numbers]
    if left:
        raise OutputFailed(
            f"{pattern.parent.absolute()} holds {len(left)} more pictures of an earlier sequence (such as "
            f"{numbered(pattern, left[0]).name}) that would mix with the {len(numbers)} new ones; "
            f"delete them or choose another folder. Nothing was written."
        )


def encoding(
    output: OutputFormat, *, width: int, height: int, deep: bool, alpha: bool, few: bool = False
) -> Encoding:
    """Encoder settings for frames of this size (pixels); ``deep``: uint16 frames, ``few``: one or two."""
    subsampling = "444" if width % 2 or height % 2 else "420"
    match output:
        case OutputFormat.H264:
            return Encoding(
                "libx264", f"yuv{subsampling}p{'10le' if deep else ''}", {"crf": "16", "preset": "medium"}
            )
        case OutputFormat.HEVC:
            # Of one or two frames x265 takes the decoding times of B-frames from memory that it never set.
            parameters = "log-level=none" + (":bframes=0" if few else "")
            return Encoding(
                "libx265",
                f"yuv{subsampling}p{'10le' if deep else ''}",
                {"crf": "18", "preset": "medium", "x265-params": parameters},
                codec_tag="hvc1",  # what Apple's players ask for
            )
        case OutputFormat.PRORES:
            options = {"vendor": "apl0", "profile": "4444" if alpha or width % 2 else "hq"}
            if alpha:
                return Encoding("prores_ks", "yuva444p10le", {**options, "alpha_bits": "16"})
            return Encoding("prores_ks", "yuv444p10le" if width % 2 else "yuv422p10le", options)
        case OutputFormat.FFV1:
            pixels = ("gbrap16le" if alpha else "gbrp16le") if deep else ("bgra" if alpha else "bgr0")
            return Encoding("ffv1", pixels, {"level": "3", "slicecrc": "1", "g": "1"})
        case OutputFormat.PNG:
            pixels = ("rgba64be" if alpha else "rgb48be") if deep else ("rgba" if alpha else "rgb24")
            return Encoding("png", pixels, {"pred": "mixed"})


def _check_folder(path: Path, output: OutputFormat) -> None:
    if path.is_dir():
        raise OutputFailed(f"{path} is a folder; give a file name to write.")
    # A sequence's own folder is made when it is missing; the one around it must stand.
    folder = path.parent.parent if output is OutputFormat.PNG and not path.parent.exists() else path.parent
    if not folder.is_dir():
        raise OutputFailed(f"{path} cannot be written: there is no folder {folder}; make it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputFailed(
            f"{path} cannot be written: this user may not write in the folder {folder.absolute()}; "
            f"change its permissions or choose another folder."
        )
