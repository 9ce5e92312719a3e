"""Files that the window reads and writes: what is asked first, and what is never written over."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_desktop.app import Desktop
from mattebox_desktop.model import commands
from mattebox_desktop.model.project import ClipRef, Project
from mattebox_desktop.model.project_file import save_project
from mattebox_desktop.service.export import EXPORT_FORMATS
from mattebox_desktop.service.preferences import preferences
from mattebox_desktop.ui import commands_of_window
from mattebox_desktop.ui.dialogs import ExportDialog
from mattebox_media import write_clip
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QDialog, QInputDialog, QMessageBox
from pytestqt.qtbot import QtBot

BUTTON = QMessageBox.StandardButton


def in_dialog(kind: type[QDialog], act: Callable[[Any], object], tries: int = 300) -> None:
    """Does `act` to the dialog of that kind that is about to open."""

    def look() -> None:
        dialog = QApplication.activeModalWidget()
        if isinstance(dialog, kind):
            act(dialog)
        elif tries:
            in_dialog(kind, act, tries - 1)

    QTimer.singleShot(10, look)


def test_suggested_export_is_not_the_clip(opened: Desktop) -> None:
    suggested: list[Path] = []

    def look(dialog: ExportDialog) -> None:
        suggested.append(dialog.target)
        dialog.reject()

    in_dialog(ExportDialog, look)
    opened.window.actions_.export.trigger()
    assert [path.name for path in suggested] == ["square-edit.mp4"]


def test_clip_is_not_exported_over_itself(opened: Desktop, clip: Path) -> None:
    before = clip.read_bytes()
    opened.workspace.export(clip, EXPORT_FORMATS[3].format, 0, 12, None)
    assert "is the project's clip" in opened.window.notices.why.text()
    assert clip.read_bytes() == before


def test_pictures_of_an_earlier_export_are_asked_about(opened: Desktop, tmp_path: Path) -> None:
    (tmp_path / "fox_0003.png").write_bytes(b"earlier")
    asked: list[str] = []

    def refuse(box: QMessageBox) -> None:
        asked.append(box.text())
        box.button(BUTTON.No).click()

    def export(dialog: ExportDialog) -> None:
        dialog.format.setCurrentIndex(4)
        dialog.path.setText(str(tmp_path / "fox_%04d.png"))
        in_dialog(QMessageBox, refuse)
        dialog.accept()

    in_dialog(ExportDialog, export)
    opened.window.actions_.export.trigger()
    assert asked == ["“fox_%04d.png” exists already. Replace it?"]
    assert opened.workspace.exports.running is None


def test_saving_asks_about_the_name_that_is_written(
    opened: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = tmp_path / "shot1.mattebox"
    earlier.write_bytes(b"earlier")
    monkeypatch.setattr(
        commands_of_window.QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "shot1"), "")
    )
    in_dialog(QMessageBox, lambda box: box.button(BUTTON.No).click())
    assert not opened.window.commands.save_as()
    assert earlier.read_bytes() == b"earlier"
    in_dialog(QMessageBox, lambda box: box.button(BUTTON.Yes).click())
    assert opened.window.commands.save_as()
    assert opened.workspace.documents.path == earlier


def test_the_sample_does_not_become_the_users_folder(desktop: Desktop, qtbot: QtBot) -> None:
    preferences().setValue("folder", "/the/users/own")
    with qtbot.waitSignal(desktop.workspace.screen.frame_ready, timeout=10_000):
        desktop.window.commands.open_sample()
    assert preferences().value("folder") == "/the/users/own"


def test_closing_asks_before_it_stops_an_export(opened: Desktop, tmp_path: Path, qtbot: QtBot) -> None:
    target, asked = tmp_path / "out.mkv", []

    def stay(box: QMessageBox) -> None:
        asked.append(box.text())
        box.defaultButton().click()

    opened.workspace.export(target, EXPORT_FORMATS[3].format, 0, 12, None)
    in_dialog(QMessageBox, stay)
    assert not opened.window.close()
    assert asked == ["Closing stops the export of out.mkv."]
    qtbot.waitUntil(lambda: opened.workspace.exports.running is None, timeout=20_000)
    assert target.is_file()


def test_a_clip_that_was_only_looked_at_is_nobodys_work(opened: Desktop) -> None:
    assert not opened.workspace.documents.dirty
    assert not opened.window.actions_.undo.isEnabled()


def test_finding_the_clip_is_no_step_but_work_to_save(opened: Desktop, clip: Path, qtbot: QtBot) -> None:
    moved = clip.with_name("moved.mkv")
    moved.write_bytes(clip.read_bytes())
    with qtbot.waitSignal(opened.workspace.screen.frame_ready, timeout=10_000):
        opened.workspace.documents.relink(moved)
    project = opened.workspace.project
    assert project.changes.undo_title is None
    assert opened.workspace.documents.dirty
    assert project.clip is not None
    assert project.clip.path == moved


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Three pictures in the folder `fox`; their pattern."""
    pattern = tmp_path / "shots" / "fox_%04d.png"
    pattern.parent.mkdir()
    write_clip(pattern, (np.full((48, 64, 3), 60 * i, np.uint8) for i in range(3)), fps=Fraction(24))
    return pattern


@pytest.mark.parametrize("picked", ["shots/fox_0001.png", "shots"])
def test_a_picture_or_a_folder_opens_as_its_sequence(
    desktop: Desktop, sequence: Path, tmp_path: Path, picked: str, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(desktop.workspace.screen.frame_ready, timeout=10_000):
        desktop.window.commands.open_path(tmp_path / picked)
    clip = desktop.workspace.project.clip
    assert clip is not None
    assert (clip.path, clip.frame_count) == (sequence, 3)
    assert desktop.workspace.documents.name == "fox"


def test_a_project_moved_with_its_sequence_finds_it(
    desktop: Desktop, sequence: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    documents, screen = desktop.workspace.documents, desktop.workspace.screen
    with qtbot.waitSignal(screen.frame_ready, timeout=10_000):
        desktop.window.commands.open_path(sequence.parent)
    documents.save(sequence.parent / "fox.mattebox")
    moved = sequence.parent.rename(tmp_path / "moved")
    with qtbot.waitSignal(screen.frame_ready, timeout=10_000):
        desktop.window.commands.open_path(moved / "fox.mattebox")
    assert documents.project.clip is not None
    assert documents.project.clip.path == moved / sequence.name


def edit_file(clip: Path, more: str = "") -> Path:
    path = clip.with_name("edit.toml")
    path.write_text(
        'source = "square.mkv"\nprompt = "a red star"\nseed = 9000000000\n'
        f'[[region]]\nname = "left"\nprompt = "a star"\nbox = [10, 20, 30, 40]\n{more}'
    )
    return path


def test_a_bad_edit_file_is_said_above_the_viewer(desktop: Desktop, clip: Path) -> None:
    desktop.window.commands.open_path(edit_file(clip, "fether = 2\n"))
    assert "did you mean 'feather'?" in desktop.window.notices.why.text()
    assert desktop.workspace.project.clip is None


def test_condition_pictures_that_are_left_out_are_said(desktop: Desktop, clip: Path, qtbot: QtBot) -> None:
    write_clip(clip.with_name("ref_%d.png"), [np.zeros((120, 160, 3), np.uint8)], fps=Fraction(24))
    edit = edit_file(clip, '[[reference]]\nframe = 3\nimage = "ref_0.png"\nregion = "left"\n')
    edit.write_text('condition_pictures = "ref_0.png"\n' + edit.read_text())
    with qtbot.waitSignal(desktop.workspace.screen.frame_ready, timeout=10_000):
        desktop.window.commands.open_path(edit)
    assert desktop.window.notices.what.text() == "Pictures were left out"
    assert "holds no condition pictures yet: the 12 of this edit file" in desktop.window.notices.why.text()
    assert [reference.frame for reference in desktop.workspace.project.references] == [3]
    desktop.window.commands.new()
    assert not desktop.window.notices.isVisible()


def test_a_seed_that_does_not_fit_the_field_is_kept(desktop: Desktop, clip: Path, qtbot: QtBot) -> None:
    with qtbot.waitSignal(desktop.workspace.screen.frame_ready, timeout=10_000):
        desktop.window.commands.open_path(edit_file(clip))
    seed = desktop.window.edit.seed
    assert desktop.workspace.project.seed == 9_000_000_000
    assert "9000000000" in seed.toolTip()
    seed.setValue(7)
    assert (desktop.workspace.project.seed, seed.toolTip()) == (7, "")


@pytest.fixture
def crashed(home: Path) -> list[Path]:
    """What two crashed desktops left, the newest first."""
    folder = home / "data" / "recovery"
    folder.mkdir(parents=True)
    made = []
    for name in ("older", "newer"):
        project = Project()
        commands.set_prompt(project, name)
        if name == "newer":
            commands.set_clip(project, ClipRef(folder / "shot.mp4", 64, 48, 9, Fraction(25)))
        save_project(project, folder / f"{name}.mattebox")
        made.insert(0, folder / f"{name}.mattebox")
    os.utime(made[1], (1_700_000_000, 1_700_000_000))
    return made


def test_every_copy_that_was_left_can_be_recovered(crashed: list[Path], desktop: Desktop) -> None:
    offered: list[str] = []

    def choose_the_older(dialog: QInputDialog) -> None:
        offered.extend(dialog.comboBoxItems())
        dialog.setTextValue(offered[1])
        dialog.accept()

    in_dialog(QInputDialog, choose_the_older)
    desktop.window.actions_.recover.trigger()
    assert [words.rpartition(", kept on ")[0] for words in offered] == ["1. shot", "2. no clip"]
    assert desktop.workspace.project.prompt == "older"
    assert desktop.workspace.documents.left_behind() == [crashed[0]]


def test_nothing_to_recover_is_said(desktop: Desktop) -> None:
    said: list[str] = []

    def read(box: QMessageBox) -> None:
        said.append(box.text())
        box.accept()

    in_dialog(QMessageBox, read)
    desktop.window.actions_.recover.trigger()
    assert said == ["There is no unsaved work to recover."]


def test_the_only_copy_stays_while_it_cannot_be_kept_elsewhere(
    desktop: Desktop, home: Path, tmp_path: Path
) -> None:
    project, crashed = Project(), tmp_path / "crashed.mattebox"
    commands.set_prompt(project, "the only copy")
    save_project(project, crashed)
    (home / "data").mkdir(parents=True, exist_ok=True)
    (home / "data" / "recovery").write_text("in the way")
    noticed: list[str] = []
    desktop.workspace.noticed.connect(lambda notice: noticed.append(notice.what))
    documents = desktop.workspace.documents
    desktop.workspace.recover(crashed)
    documents.keep_aside()
    assert crashed.is_file()
    assert noticed == ["Unsaved work is not protected"], "once, however often it is tried"
    assert desktop.window.notices.isVisible()
    (home / "data" / "recovery").unlink()
    documents.keep_aside()
    assert list((home / "data" / "recovery").glob("*.mattebox"))
    assert not desktop.window.notices.isVisible()
