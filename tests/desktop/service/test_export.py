"""Exports as files: what a player shows of them, and what they may never write over."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mattebox_desktop.service.export import Export, ExportRequest
from mattebox_media import OutputFormat, open_clip, write_clip
from mattebox_media.errors import OutputFailed
from pytestqt.qtbot import QtBot

FORMATS = {".mov": OutputFormat.PRORES, ".mkv": OutputFormat.FFV1, ".png": OutputFormat.PNG}
FRAMES = [np.full((32, 48, 3), 40 * index, np.uint8) for index in range(3)]


def request(clip: Path, target: Path, *kept: Path) -> ExportRequest:
    return ExportRequest(clip, None, 0, 0, 0, 3, target, FORMATS[target.suffix], kept=(clip, *kept))


def test_pixels_that_are_not_square_stay_so(tmp_path: Path, qtbot: QtBot) -> None:
    clip, target = tmp_path / "dv.mov", tmp_path / "out.mov"
    write_clip(clip, FRAMES, fps=Fraction(25), pixel_aspect=Fraction(16, 15))
    export = Export(request(clip, target))
    with qtbot.waitSignal(export.finished, timeout=20_000):
        export.start()
    export.close()
    with open_clip(target) as made:
        assert made.info.pixel_aspect == Fraction(16, 15)


@pytest.mark.parametrize("name", ["clip.mkv", "take.mkv", "link.mkv", "frames/%04d.png", "frames/%d.png"])
def test_footage_of_the_project_is_never_written_over(tmp_path: Path, name: str) -> None:
    clip, take, frames = tmp_path / "clip.mkv", tmp_path / "take.mkv", tmp_path / "frames" / "%04d.png"
    for path in (clip, take):
        write_clip(path, FRAMES, fps=Fraction(25))
    write_clip(frames, FRAMES, fps=Fraction(25), first_number=1000)
    (tmp_path / "link.mkv").symlink_to(clip)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    export = Export(request(clip, tmp_path / name, take, frames))
    with pytest.raises(OutputFailed, match="clip or one of its takes; choose another name"):
        export.start()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before
