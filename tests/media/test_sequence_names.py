"""From a picture or a folder to its sequence, and what a clip is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from mattebox_media import files_at, pattern_of, plain_name


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("names", "picked", "pattern"),
    [
        (("0001.png", "0002.png"), "0002.png", "%04d.png"),
        (("fox_0999.jpg", "fox_1000.jpg"), "fox_1000.jpg", "fox_%04d.jpg"),
        (("fox9.png", "fox10.png", "fox11.png"), "fox10.png", "fox%d.png"),
        (("shot2_01.png", "shot2_02.png"), "shot2_01.png", "shot2_%02d.png"),
        (("a01_v2.png", "a02_v2.png"), "a01_v2.png", "a%02d_v2.png"),
        (("cover.png",), "cover.png", None),
        (("clip01.mp4", "clip02.mp4"), "clip01.mp4", None),
    ],
)
def test_a_numbered_picture_stands_for_its_sequence(
    tmp_path: Path, names: tuple[str, ...], picked: str, pattern: str | None
) -> None:
    touch(tmp_path, *names)
    assert pattern_of(tmp_path / picked) == (None if pattern is None else tmp_path / pattern)


def test_a_folder_stands_for_the_sequence_in_it(tmp_path: Path) -> None:
    touch(tmp_path / "more", "a_01.png")
    assert pattern_of(tmp_path) is None
    touch(tmp_path, "._fox_01.png", "cover.png", "fox_01.png", "fox_02.png", "notes.txt")
    assert pattern_of(tmp_path) == tmp_path / "fox_%02d.png"


def test_a_path_is_asked_for_the_files_it_stands_for(tmp_path: Path) -> None:
    touch(tmp_path, "fox_01.png", "fox_02.png", "fox.mp4")
    assert files_at(tmp_path / "fox_%02d.png") == [tmp_path / "fox_01.png", tmp_path / "fox_02.png"]
    assert files_at(tmp_path / "fox.mp4") == [tmp_path / "fox.mp4"]
    assert files_at(tmp_path / "none_%d.png") == files_at(tmp_path / "none.mp4") == []


def test_a_sequence_is_called_after_what_is_not_its_number() -> None:
    assert plain_name(Path("shots/fox.mp4")) == "fox"
    assert plain_name(Path("shots/fox_%04d.png")) == "fox"
    assert plain_name(Path("shots/%04d.png")) == "shots"
