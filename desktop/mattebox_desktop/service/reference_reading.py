"""What becomes the picture of a reference: a frame in use, or a file, at the clip's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mattebox_media import open_clip

from mattebox_desktop.model.project import Project
from mattebox_desktop.model.project_file import png
from mattebox_desktop.model.reference import Picture
from mattebox_desktop.model.reference_commands import check_frame
from mattebox_desktop.service.picture_files import read_picture
from mattebox_desktop.service.pixels import Fit, Pixels, eight_bit, fitted, over


@dataclass(frozen=True, slots=True)
class FrameOf:
    """A frame of a video file: where a frame of the clip, or of a take of it, is to be read."""

    path: Path
    index: int

    def read(self) -> Pixels:
        """(H, W, 3) uint8. Raises MediaError."""
        with open_clip(self.path) as reader:
            return eight_bit(reader.frame(self.index))


@dataclass(frozen=True, slots=True, eq=False)
class Unfit:
    """A picture of another size than the clip's; sizes are (width, height). choices: what each way to fit
    it makes of it.
    """

    name: str
    size: tuple[int, int]
    clip_size: tuple[int, int]
    choices: Mapping[Fit, Picture]


def source_frame(project: Project, frame: int) -> FrameOf:
    """Raises RangeError for a frame outside the clip, IncompleteEditError without a clip."""
    return FrameOf(check_frame(project, frame).path, frame)


def frame_in_use(project: Project, frame: int) -> FrameOf:
    """That frame of the take in use where it covers it, else of the source; raises as `source_frame`."""
    take = project.take(project.take_in_use)
    if take is not None and take.start <= frame < take.stop:
        return FrameOf(take.path, frame - take.start)
    return source_frame(project, frame)


def picture_of_frame(frame: FrameOf) -> Picture:
    """Raises MediaError."""
    return encoded(Picture(frame.read()))


def picture_of_file(
    path: Path, source: FrameOf, shape: tuple[int, int], fits: Mapping[tuple[int, int], Fit]
) -> Picture | Unfit:
    """The picture in a file as a reference of that frame of the source, which is (height, width) in shape.

    The source shows where the picture is transparent. fits: how pictures of some sizes, (width, height), are
    to fit; one of another size than those and the clip's is unfit.

    Raises:
        PictureError: the file holds no picture that can be read.
        MediaError: the source's frame cannot be read.
    """
    pixels = read_picture(path)
    if pixels.shape == (*shape, 3):
        return encoded(Picture(pixels, str(path)))
    frame = source.read()
    if pixels.shape[:2] == shape:
        return encoded(Picture(over(pixels, frame), str(path)))
    size = pixels.shape[1], pixels.shape[0]
    if size in fits:
        return encoded(Picture(fitted(pixels, frame, fits[size]), str(path)))
    choices = {fit: encoded(Picture(fitted(pixels, frame, fit), str(path))) for fit in Fit}
    return Unfit(path.name, size, (frame.shape[1], frame.shape[0]), choices)


def encoded(picture: Picture) -> Picture:
    """Made ready for the project's file here, in the background: saving then has little to do."""
    picture.encoded(png)
    return picture
