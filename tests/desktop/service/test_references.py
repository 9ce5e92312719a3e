"""Frames out to an image editor and back: real files, a real clip, and an editor that is this test."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import shiboken6
from mattebox_desktop.model import commands, reference_commands
from mattebox_desktop.model.errors import RangeError
from mattebox_desktop.model.project import ClipRef, Project, Take
from mattebox_desktop.model.reference import Picture, Reference
from mattebox_desktop.model.region import Region
from mattebox_desktop.service import picture_watch
from mattebox_desktop.service.image_editor import set_image_editor
from mattebox_desktop.service.pixels import Fit, fitted
from mattebox_desktop.service.reference_reading import Unfit
from mattebox_desktop.service.references import References
from mattebox_media import MediaError, write_clip
from PIL import Image
from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import QDesktopServices
from pytestqt.qtbot import QtBot

HEIGHT, WIDTH, FRAMES = 48, 64, 8
WAIT = 10_000


def source(frame: int) -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), 20 * frame, np.uint8)
    picture[:, : WIDTH // 2, 0] = 200
    return picture


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATTEBOX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A clip of eight frames with a region “left disc”."""
    path = tmp_path / "fox.mkv"
    write_clip(path, (source(i) for i in range(FRAMES)), fps=Fraction(24))
    made = Project()
    commands.set_clip(made, ClipRef(path, WIDTH, HEIGHT, FRAMES, Fraction(24)))
    commands.add_region(made, "left disc", "a star")
    return made


@pytest.fixture
def region(project: Project) -> Region:
    return project.regions[0]


@pytest.fixture
def references(qtbot: QtBot, project: Project) -> Iterator[References]:
    made = References()
    made.set_project(project)
    yield made
    made.close()
    shiboken6.delete(made)  # here, and not by the garbage collector in another test's thread


@pytest.fixture
def failures(references: References) -> list[tuple[str, str]]:
    said: list[tuple[str, str]] = []
    references.failed.connect(lambda what, why: said.append((what, why)))
    return said


class Editor(QObject):
    """What the system opens pictures with."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[Path] = []

    @Slot(QUrl)
    def open(self, url: QUrl) -> None:
        self.opened.append(Path(url.toLocalFile()))


@pytest.fixture
def editor(qtbot: QtBot) -> Iterator[Editor]:
    made = Editor()
    QDesktopServices.setUrlHandler("file", made, "open")
    yield made
    QDesktopServices.unsetUrlHandler("file")


@pytest.fixture
def edited(
    references: References, project: Project, region: Region, editor: Editor, qtbot: QtBot
) -> tuple[Reference, Path]:
    """A reference of frame 3, open in the editor, and the file there."""
    references.add_frame(3, region, then_edit=True)
    qtbot.waitUntil(lambda: bool(editor.opened), timeout=WAIT)
    (reference,) = project.references
    return reference, editor.opened[0]


def shade(value: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    return Image.new("RGB", size, (value, value, value))


def shown(reference: Reference) -> int:
    return int(reference.picture.pixels[0, 0, 1])


def test_a_reference_of_a_frame_shows_that_frame(
    references: References, project: Project, region: Region, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(references.changed, timeout=WAIT):
        references.add_frame(5, region)
    (reference,) = project.references
    assert np.array_equal(reference.picture.pixels, source(5))
    assert not reference.picture.edited
    assert project.changes.undo_title == "Add reference"


def test_a_take_in_use_is_what_the_frame_shows(
    references: References, project: Project, region: Region, tmp_path: Path, qtbot: QtBot
) -> None:
    path = tmp_path / "take.mkv"
    write_clip(path, (np.full((HEIGHT, WIDTH, 3), 100 + i, np.uint8) for i in range(4)), fps=Fraction(24))
    take = Take("t", "Take 1", path, 2, 6, 0, "", "")
    commands.add_take(project, take)
    commands.use_take(project, take)
    for frame, expected in ((3, 101), (6, 120)):
        with qtbot.waitSignal(references.changed, timeout=WAIT) as told:
            references.add_frame(frame, region)
        assert told.args is not None
        assert shown(told.args[0]) == expected


@pytest.mark.parametrize("frame", [-1, FRAMES])
def test_a_frame_outside_the_clip_is_refused_at_once(
    references: References, region: Region, tmp_path: Path, frame: int
) -> None:
    for ask in (
        lambda: references.add_frame(frame, region),
        lambda: references.add_file(tmp_path / "a.png", frame, region),
        lambda: references.export_frame(frame, tmp_path / "out.png"),
    ):
        with pytest.raises(RangeError, match=f"Frame {frame} is outside the clip"):
            ask()


def test_the_editor_gets_the_picture_in_a_file_that_says_what_it_is(
    edited: tuple[Reference, Path], home: Path
) -> None:
    reference, path = edited
    assert path == home / "data" / "references" / reference.id / "fox-left-disc-frame-0003.png"
    assert np.array_equal(np.asarray(Image.open(path)), source(3))


def test_every_saved_version_comes_back_as_one_step(
    edited: tuple[Reference, Path], project: Project, references: References, qtbot: QtBot
) -> None:
    reference, path = edited
    now = [1000.0]
    project.changes._clock = lambda: now[0]
    for value in (40, 50, 60):
        now[0] += 60
        with qtbot.waitSignal(references.changed, timeout=WAIT):
            shade(value).save(path)
        assert shown(reference) == value
    assert reference.picture.source == str(path)
    for value in (50, 40):
        assert project.changes.undo() == "Change reference"
        assert shown(reference) == value
    project.changes.undo()
    assert np.array_equal(reference.picture.pixels, source(3))


def test_a_version_that_is_the_same_is_no_step(
    edited: tuple[Reference, Path], project: Project, references: References, qtbot: QtBot
) -> None:
    reference, path = edited
    with qtbot.waitSignal(references.changed, timeout=WAIT):
        Image.fromarray(source(3)).save(path, compress_level=0)
    assert project.changes.undo_title == "Add reference"
    assert not reference.picture.edited


def test_what_is_saved_during_a_stroke_waits_for_its_end(
    edited: tuple[Reference, Path], project: Project, references: References, qtbot: QtBot
) -> None:
    reference, path = edited
    project.changes.begin("Brush stroke")
    shade(70).save(path)
    qtbot.wait(6 * picture_watch.SETTLE_MS)
    assert not reference.picture.edited
    project.changes.commit()
    assert shown(reference) == 70
    assert project.changes.undo_title == "Change reference"


def test_opening_again_writes_what_the_reference_shows_now(
    edited: tuple[Reference, Path], project: Project, references: References, editor: Editor, qtbot: QtBot
) -> None:
    reference, path = edited
    reference_commands.replace_picture(
        project, reference, Picture(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), "elsewhere.png")
    )
    reference_commands.move_reference(project, reference, 6)
    references.edit(reference)
    qtbot.waitUntil(lambda: len(editor.opened) == 2, timeout=WAIT)
    later = editor.opened[1]
    assert later.name == "fox-left-disc-frame-0006.png"
    assert np.asarray(Image.open(later))[0, 0, 1] == 90
    with qtbot.waitSignal(references.changed, timeout=WAIT):
        shade(30).save(path)  # the file of before is nobody's any more
        shade(91).save(later)
    assert shown(reference) == 91
    assert reference.frame == 6


def test_what_was_saved_while_nobody_watched_is_set_aside(
    edited: tuple[Reference, Path], project: Project, references: References, editor: Editor, qtbot: QtBot
) -> None:
    reference, path = edited
    references.set_project(Project())
    shade(77).save(path)
    references.set_project(project)
    references.edit(reference)
    qtbot.waitUntil(lambda: len(editor.opened) == 2, timeout=WAIT)
    assert np.array_equal(np.asarray(Image.open(path)), source(3))
    (aside,) = path.parent.glob("*-before-*.png")
    assert np.asarray(Image.open(aside))[0, 0, 1] == 77


def test_a_picture_still_open_when_its_project_is_opened_again_comes_back(
    edited: tuple[Reference, Path], project: Project, references: References, qtbot: QtBot
) -> None:
    reference, path = edited
    references.set_project(Project())
    references.set_project(project)
    with qtbot.waitSignal(references.changed, timeout=WAIT):
        shade(78).save(path)
    assert shown(reference) == 78


def test_files_of_formats_and_depths_become_the_picture(
    references: References, project: Project, region: Region, tmp_path: Path, qtbot: QtBot
) -> None:
    layer = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    layer[10:20] = (1, 2, 3, 255)
    Image.fromarray(layer).save(tmp_path / "layer.webp", lossless=True)
    with qtbot.waitSignal(references.changed, timeout=WAIT) as told:
        references.add_file(tmp_path / "layer.webp", 4, region)
    assert told.args is not None
    expected = source(4)
    expected[10:20] = (1, 2, 3)
    assert np.array_equal(told.args[0].picture.pixels, expected)
    shade(44).save(tmp_path / "other.tif")
    with qtbot.waitSignal(references.changed, timeout=WAIT):
        references.replace_file(told.args[0], tmp_path / "other.tif")
    assert shown(project.references[0]) == 44
    assert project.references[0].picture.source == str(tmp_path / "other.tif")


Asked = tuple[Unfit, Callable[[Fit | None], object]]


def asked_for(references: References, path: Path, qtbot: QtBot, act: Callable[[], object]) -> Asked:
    with qtbot.waitSignal(references.fit_asked, timeout=WAIT) as told:
        act()
    assert told.args is not None
    return told.args[0], told.args[1]


def test_a_picture_of_another_size_is_asked_about(
    references: References, project: Project, region: Region, tmp_path: Path, qtbot: QtBot
) -> None:
    rows = np.repeat(np.linspace(0, 250, 30).astype(np.uint8), 90).reshape(30, 90, 1).repeat(3, 2)
    Image.fromarray(rows).save(tmp_path / "wide.png")
    unfit, answer = asked_for(
        references, tmp_path, qtbot, lambda: references.add_file(tmp_path / "wide.png", 4, region)
    )
    assert (unfit.name, unfit.size, unfit.clip_size) == ("wide.png", (90, 30), (WIDTH, HEIGHT))
    answer(None)
    assert len(project.references) == 0
    answer(Fit.CONTAIN)
    (reference,) = project.references
    assert np.array_equal(reference.picture.pixels, fitted(rows, source(4), Fit.CONTAIN))
    assert np.array_equal(reference.picture.pixels[0], source(4)[0]), "the frame stands around it"
    answer(Fit.COVER)
    assert np.array_equal(reference.picture.pixels, fitted(rows, source(4), Fit.COVER))


def test_an_answer_counts_for_the_next_save_of_that_size(
    edited: tuple[Reference, Path], references: References, qtbot: QtBot
) -> None:
    reference, path = edited
    small = (WIDTH // 2, HEIGHT // 2)
    _, answer = asked_for(references, path, qtbot, lambda: shade(10, small).save(path))
    answer(Fit.COVER)
    assert shown(reference) == 10
    with (
        qtbot.assertNotEmitted(references.fit_asked),
        qtbot.waitSignal(references.changed, timeout=WAIT),
    ):
        shade(11, small).save(path)
    assert shown(reference) == 11
    asked_for(references, path, qtbot, lambda: shade(12, (WIDTH, HEIGHT // 2)).save(path))
    assert shown(reference) == 11


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; save it again"),
        (b"not a picture", "is no picture that Mattebox reads"),
        (None, "is damaged or not written to its end"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_next_save_comes_back(
    edited: tuple[Reference, Path],
    references: References,
    failures: list[tuple[str, str]],
    qtbot: QtBot,
    data: bytes | None,
    said: str,
) -> None:
    reference, path = edited
    if data is None:
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(noise).save(path.with_name("whole.png"))
        data = path.with_name("whole.png").read_bytes()[:-500]
    path.write_bytes(data)
    qtbot.waitUntil(lambda: bool(failures), timeout=WAIT)
    assert failures[0][0] == "The picture was not taken"
    assert said in failures[0][1]
    with qtbot.waitSignal(references.changed, timeout=WAIT):
        shade(33).save(path)
    assert shown(reference) == 33


def test_a_file_deleted_while_watched_is_said(
    edited: tuple[Reference, Path],
    references: References,
    failures: list[tuple[str, str]],
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(picture_watch, "GONE_SECONDS", 0.3)
    reference, path = edited
    shutil.rmtree(path.parent)
    qtbot.waitUntil(lambda: bool(failures), timeout=WAIT)
    what, why = failures[0]
    assert what == "A picture was deleted while it was being edited"
    assert why == (
        f"“{path.name}” is gone. The reference of “left disc” at frame 3 keeps its last picture; open it in "
        "the image editor again to go on."
    )
    assert np.array_equal(reference.picture.pixels, source(3))


def test_a_picture_whose_region_is_gone_is_said(
    edited: tuple[Reference, Path],
    references: References,
    project: Project,
    region: Region,
    failures: list[tuple[str, str]],
    qtbot: QtBot,
) -> None:
    reference, path = edited
    commands.remove_region(project, region)
    shade(20).save(path)
    qtbot.waitUntil(lambda: bool(failures), timeout=WAIT)
    assert "its reference or its region was deleted; undo brings it back" in failures[0][1]
    project.changes.undo()
    with qtbot.waitSignal(references.changed, timeout=WAIT):
        shade(21).save(path)
    assert shown(reference) == 21


def test_a_region_that_went_while_the_picture_was_read_is_said(
    references: References,
    project: Project,
    region: Region,
    failures: list[tuple[str, str]],
    tmp_path: Path,
    qtbot: QtBot,
) -> None:
    shade(20).save(tmp_path / "a.png")
    references.add_file(tmp_path / "a.png", 2, region)
    commands.remove_region(project, region)
    qtbot.waitUntil(lambda: bool(failures), timeout=WAIT)
    assert failures == [
        (
            "The picture was not taken",
            "The region “left disc” is gone; undo brings it back, or choose another region.",
        )
    ]


def test_another_project_gets_nothing_of_it(
    edited: tuple[Reference, Path], references: References, project: Project, region: Region, qtbot: QtBot
) -> None:
    reference, path = edited
    references.add_frame(1, region)
    references.set_project(Project())
    with qtbot.assertNotEmitted(references.changed, wait=6 * picture_watch.SETTLE_MS):
        shade(20).save(path)
    assert len(project.references) == 1
    assert not reference.picture.edited


def test_an_exported_frame_is_its_pixels(references: References, tmp_path: Path, qtbot: QtBot) -> None:
    target = tmp_path / "frame.png"
    references.export_frame(6, target)
    qtbot.waitUntil(target.exists, timeout=WAIT)
    assert np.array_equal(np.asarray(Image.open(target)), source(6))


def test_an_export_that_cannot_be_is_said(
    references: References,
    project: Project,
    failures: list[tuple[str, str]],
    tmp_path: Path,
    qtbot: QtBot,
) -> None:
    assert project.clip is not None
    before = project.clip.path.read_bytes()
    with pytest.raises(MediaError, match="is the project's clip or one of its takes"):
        references.export_frame(0, project.clip.path)
    assert project.clip.path.read_bytes() == before
    references.export_frame(0, tmp_path / "none" / "frame.png")
    qtbot.waitUntil(lambda: bool(failures), timeout=WAIT)
    assert failures[0][0] == "The frame was not exported"
    assert not (tmp_path / "none").exists()


def test_a_clip_that_is_gone_is_said(
    references: References,
    project: Project,
    region: Region,
    failures: list[tuple[str, str]],
    qtbot: QtBot,
) -> None:
    assert project.clip is not None
    project.clip.path.unlink()
    references.add_frame(2, region)
    qtbot.waitUntil(lambda: bool(failures), timeout=WAIT)
    assert failures[0][0] == "The frame could not be read"
    assert "fox.mkv" in failures[0][1]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for the program")
def test_a_program_of_ones_own_is_started(
    references: References, project: Project, region: Region, tmp_path: Path, qtbot: QtBot
) -> None:
    script, note = tmp_path / "paint", tmp_path / "asked.txt"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > "{note}.part"\nmv "{note}.part" "{note}"\n')
    script.chmod(0o755)
    set_image_editor(str(script))
    references.add_frame(3, region, then_edit=True)
    qtbot.waitUntil(note.exists, timeout=WAIT)
    assert Path(note.read_text()).name == "fox-left-disc-frame-0003.png"
    set_image_editor(str(tmp_path / "no-such-program"))
    with qtbot.waitSignal(references.not_opened, timeout=WAIT):
        references.edit(project.references[0])


def test_files_that_nobody_saved_for_long_are_taken_away(
    edited: tuple[Reference, Path], references: References, editor: Editor, home: Path, qtbot: QtBot
) -> None:
    reference, _ = edited
    root, old = home / "data" / "references", time.time() - 40 * 86_400
    for name, when in (("forgotten", old), ("recent", time.time()), (reference.id, old)):
        folder = root / name
        folder.mkdir(exist_ok=True)
        (folder / "a.png").write_bytes(b"")
        for entry in (folder / "a.png", folder):
            os.utime(entry, (when, when))
    references.edit(reference)
    qtbot.waitUntil(lambda: len(editor.opened) == 2, timeout=WAIT)
    assert sorted(entry.name for entry in root.iterdir()) == sorted(["recent", reference.id])
