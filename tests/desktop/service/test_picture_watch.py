"""Files written by another program, in every way that programs write them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import shiboken6
from mattebox_desktop.service import picture_watch
from mattebox_desktop.service.picture_watch import PictureWatch
from pytestqt.qtbot import QtBot


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "frame.png"
    path.write_bytes(b"first")
    return path


@pytest.fixture
def watch(qtbot: QtBot, file: Path) -> Iterator[PictureWatch]:
    made = PictureWatch()
    made.watch(file)
    yield made
    made.clear()
    shiboken6.delete(made)  # here, and not by the garbage collector in another test's thread


def in_place(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def by_rename(path: Path, data: bytes) -> None:
    """As GIMP, Krita and most others do: written beside it, then moved over it."""
    beside = path.with_name(".frame.png.tmp")
    beside.write_bytes(data)
    beside.replace(path)


def by_backup(path: Path, data: bytes) -> None:
    """The old one becomes a backup, then a new one is made."""
    path.replace(path.with_name("frame.png~"))
    path.write_bytes(data)


def by_removal(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("save", [in_place, by_rename, by_backup, by_removal])
def test_every_version_is_told_however_it_is_saved(
    watch: PictureWatch, file: Path, qtbot: QtBot, save: object
) -> None:
    for version in (b"second!", b"third version", b"fourth"):
        with qtbot.waitSignal(watch.saved, timeout=5000) as told:
            save(file, version)  # type: ignore[operator]
        assert told.args == [file]
        assert file.read_bytes() == version


def test_a_file_is_told_of_once_it_is_whole(watch: PictureWatch, file: Path, qtbot: QtBot) -> None:
    sizes: list[int] = []
    watch.saved.connect(lambda path: sizes.append(path.stat().st_size))
    with file.open("wb") as written:
        for _ in range(12):
            written.write(b"x" * 1000)
            written.flush()
            qtbot.wait(picture_watch.SETTLE_MS // 3)
    qtbot.waitUntil(lambda: bool(sizes), timeout=5000)
    qtbot.wait(3 * picture_watch.SETTLE_MS)
    assert sizes == [12_000]


def test_other_files_beside_it_are_nobodys_news(watch: PictureWatch, file: Path, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(watch.saved, wait=4 * picture_watch.SETTLE_MS):
        file.with_name("frame.xcf").write_bytes(b"layers")
        file.touch()
        os.utime(file, ns=(watch._files[file].told[0],) * 2)  # type: ignore[index]


def test_a_file_that_is_deleted_is_said_once_and_found_again(
    watch: PictureWatch, file: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_watch, "GONE_SECONDS", 0.5)
    lost: list[Path] = []
    watch.lost.connect(lost.append)
    with qtbot.waitSignal(watch.lost, timeout=5000):
        file.unlink()
    file.with_name("another.txt").write_bytes(b"")
    qtbot.wait(4 * picture_watch.SETTLE_MS)
    assert lost == [file]
    with qtbot.waitSignal(watch.saved, timeout=5000):
        file.write_bytes(b"first")
    with qtbot.waitSignal(watch.saved, timeout=5000):
        file.write_bytes(b"and on")


def test_what_is_forgotten_is_not_told(watch: PictureWatch, file: Path, qtbot: QtBot) -> None:
    other = file.with_name("other.png")
    other.write_bytes(b"other")
    watch.watch(other)
    watch.forget(file)
    with qtbot.waitSignal(watch.saved, timeout=5000) as told:
        file.write_bytes(b"not looked at")
        other.write_bytes(b"looked at")
    assert told.args == [other]
    watch.forget(other)
    assert watch.paths == []
    assert watch._watcher.files() == watch._watcher.directories() == []


def test_what_is_written_before_it_is_watched_again_is_known(
    watch: PictureWatch, file: Path, qtbot: QtBot
) -> None:
    with qtbot.assertNotEmitted(watch.saved, wait=4 * picture_watch.SETTLE_MS):
        file.write_bytes(b"our own version")
        watch.watch(file)
