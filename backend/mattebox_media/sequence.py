"""Picture sequences such as ``frames/%04d.png``: 8 and 16 bit PNG, with or without alpha, and JPEG."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mattebox_media.clip import ClipInfo, Frame
from mattebox_media.color import ColorTags
from mattebox_media.errors import ClipNotFound, DamagedFrame, MissingFrames, NotAVideo
from mattebox_media.orientation import Orientation
from mattebox_media.pixels import RgbReader

PICTURE_ENDINGS: Final = (".png", ".jpg", ".jpeg")
_NUMBER: Final = re.compile(r"%(0(?P<width>\d+))?d")


def is_pattern(path: Path) -> bool:
    """Does the name stand for numbered files (``%d``, ``%04d``)?"""
    return _NUMBER.search(path.name) is not None


def numbered(pattern: Path, number: int) -> Path:
    """The file that carries this number."""
    found = _NUMBER.search(pattern.name)
    if found is None:
        raise ValueError(f"{pattern} has no number pattern such as %04d.")
    digits = f"{number:0{int(found['width'] or 1)}d}"
    return pattern.with_name(pattern.name[: found.start()] + digits + pattern.name[found.end() :])


def numbers_of(pattern: Path) -> list[int]:
    """The numbers of the files that fit the pattern, rising; empty when the folder is missing."""
    found = _NUMBER.search(pattern.name)
    if found is None or not pattern.parent.is_dir():
        return []
    name = re.compile(
        re.escape(pattern.name[: found.start()]) + r"(\d+)" + re.escape(pattern.name[found.end() :])
    )
    numbers = set()
    for file in pattern.parent.iterdir():
        match = name.fullmatch(file.name)
        if match and numbered(pattern, int(match[1])).name == file.name:
            numbers.add(int(match[1]))
    return sorted(numbers)


def files_at(path: Path) -> list[Path]:
    """The files that a path stands for: all that fit a number pattern, else the file itself; empty where
    there is none.
    """
    if is_pattern(path):
        return [numbered(path, number) for number in numbers_of(path)]
    return [path] if path.exists() else []


def pattern_of(path: Path) -> Path | None:
    """The sequence that a numbered picture belongs to, or that the first one in a folder does.

    ``shot2/fox_0031.png`` is one of ``shot2/fox_%04d.png``. Where a name holds several numbers, the one that
    most files share is counted on. None for what is no numbered picture.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        return next((pattern for file in files if (pattern := pattern_of(file))), None)
    if path.suffix.lower() not in PICTURE_ENDINGS or "%" in path.name:
        return None
    patterns = [
        path.with_name(path.name[: digits.start()] + form + path.name[digits.end() :])
        for digits in reversed(list(re.finditer(r"\d+", path.stem)))
        for form in (f"%0{len(digits[0])}d", "%d")
    ]
    return max(patterns, key=lambda pattern: len(numbers_of(pattern)), default=None)


def plain_name(path: Path) -> str:
    """What a clip is called: its file's name without the ending; a sequence's without the number, or its
    folder's where nothing else is left.
    """
    if not is_pattern(path):
        return path.stem
    return _NUMBER.sub("", path.stem).strip(" ._-") or path.parent.name


class SequenceSource:
    """A picture sequence; frame 0 is the lowest number. Numbers may begin anywhere but may have no gap."""

    def __init__(self, pattern: Path, fps: Fraction) -> None:
        """``fps``: frames per second, which pictures do not carry.

        Raises ClipNotFound, NotAVideo, MissingFrames, DamagedFrame.
        """
        if pattern.suffix.lower() not in PICTURE_ENDINGS:
            raise NotAVideo(f"A picture sequence ends in {', '.join(PICTURE_ENDINGS)}; {pattern} does not.")
        numbers = numbers_of(pattern)
        if not numbers:
            raise ClipNotFound(
                f"No file fits the picture sequence {pattern}; "
                f"the first would be {numbered(pattern, 1).name}."
            )
        missing = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
        if missing:
            raise MissingFrames(pattern, missing)
        self._pattern = pattern
        self._first_number = numbers[0]
        first = read_picture(numbered(pattern, numbers[0]), pattern, 0)
        deep, alpha = first.dtype == np.uint16, first.shape[2] == 4
        self.info = ClipInfo(
            path=pattern,
            kind="sequence",
            width=first.shape[1],
            height=first.shape[0],
            frame_count=len(numbers),
            fps=fps,
            bit_depth=16 if deep else 8,
            has_alpha=alpha,
            has_audio=False,
            rotation=0,
            codec="png" if pattern.suffix.lower() == ".png" else "mjpeg",
            pixel_format=("rgba64" if deep else "rgba") if alpha else ("rgb48" if deep else "rgb24"),
            color=ColorTags(matrix="gbr", range="full"),
        )  # fmt: skip

    def time(self, frame: int) -> Fraction:
        """Seconds from the first frame to this one, exact."""
        return frame / self.info.fps

    def keyframe_before(self, frame: int) -> int:
        """Every picture stands alone: the frame itself."""
        return frame

    def files(self) -> tuple[Path, ...]:
        """Every picture, in order."""
        return tuple(numbered(self._pattern, self._first_number + i) for i in range(self.info.frame_count))

    def close(self) -> None:
        """Nothing is held open."""

    def open_decoder(self) -> SequenceDecoder:
        """A decoder; pictures are opened one by one."""
        return SequenceDecoder(self.info, self._first_number)


class SequenceDecoder:
    """Reads pictures by frame index. Not thread-safe: one thread at a time."""

    def __init__(self, info: ClipInfo, first_number: int) -> None:
        self._info = info
        self._first_number = first_number
        self.position: int | None = None

    def read(self, frame: int) -> Frame:
        """Frame ``frame`` (0-based, in range), read-only. Raises DamagedFrame."""
        info = self._info
        picture = read_picture(numbered(info.path, self._first_number + frame), info.path, frame)
        shape = (info.height, info.width, info.channels)
        if picture.shape != shape or (picture.dtype == np.uint16) != (info.bit_depth > 8):
            raise DamagedFrame(
                info.path,
                frame,
                f"the picture is {_layout(picture.shape, picture.dtype)}, "
                f"the first one is {_layout(shape, np.dtype(np.uint16 if info.bit_depth > 8 else np.uint8))}",
            )
        picture.flags.writeable = False
        self.position = frame + 1
        return picture

    def close(self) -> None:
        """Nothing is held open."""


def read_picture(file: Path, clip: Path, frame: int) -> Frame:
    """One picture as (H, W, 3 or 4), uint8 or (16-bit PNG) uint16; errors name ``frame`` of ``clip``."""
    try:
        with file.open("rb") as opened:
            head = opened.read(26)
        if head[:8] == b"\x89PNG\r\n\x1a\n" and head[24:25] == b"\x10":
            return _deep_png(file)
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            upright = ImageOps.exif_transpose(image)
            alpha = "A" in upright.getbands() or "transparency" in upright.info
            return np.asarray(upright.convert("RGBA" if alpha else "RGB"))
    except FileNotFoundError as error:
        raise DamagedFrame(clip, frame, f"{file.name} is gone") from error
    except UnidentifiedImageError as error:
        raise DamagedFrame(clip, frame, f"{file.name} is no PNG or JPEG picture") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        av.error.FFmpegError,
    ) as error:  # Pillow's parsers raise all of these
        raise DamagedFrame(clip, frame, f"{file.name} is damaged or cut off") from error


def _deep_png(file: Path) -> Frame:
    """Pillow reads 16-bit colour as 8; FFmpeg keeps it."""
    with av.open(f"file:{file}", format="png_pipe") as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"err_detect": "explode"}
        picture = next(container.decode(stream))
        return RgbReader(picture.format, ColorTags(matrix="gbr", range="full"), Orientation())(picture)


def _layout(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> str:
    return f"{shape[1]}x{shape[0]} {'RGBA' if shape[2] == 4 else 'RGB'} {dtype.itemsize * 8} bit"
