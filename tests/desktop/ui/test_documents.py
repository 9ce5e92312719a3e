"""Opening, dropping, saving, and what happens when a file is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from mattebox_desktop.app import Desktop
from mattebox_desktop.model import commands
from mattebox_desktop.service.documents import Documents
from mattebox_desktop.ui import commands_of_window
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QApplication, QMessageBox
from pytestqt.qtbot import QtBot

BUTTON = QMessageBox.StandardButton


def drop(desktop: Desktop, path: Path) -> bool:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    arguments = (Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    enter = QDragEnterEvent(QPoint(300, 300), *arguments)
    QApplication.sendEvent(desktop.window, enter)
    QApplication.sendEvent(desktop.window, QDropEvent(QPointF(300, 300), *arguments))
    return enter.isAccepted()


def test_dropped_clip_opens(desktop: Desktop, clip: Path, qtbot: QtBot) -> None:
    assert desktop.window.empty.isVisible()
    with qtbot.waitSignal(desktop.workspace.screen.frame_ready, timeout=10_000):
        assert drop(desktop, clip)
    project = desktop.workspace.project
    assert project.clip is not None
    assert (project.clip.width, project.clip.height, project.clip.frame_count) == (160, 120, 12)
    assert desktop.window.viewer.isVisible()
    assert desktop.window.windowTitle() == "square[*] – Mattebox"


@pytest.mark.parametrize("broken", [b"not a video at all", b""])
def test_broken_clip_is_said_above_the_viewer_and_the_project_stays(
    opened: Desktop, tmp_path: Path, qtbot: QtBot, broken: bytes
) -> None:
    before = opened.workspace.project
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(broken)
    before.changes.mark_saved()
    with qtbot.waitSignal(opened.workspace.noticed, timeout=10_000):
        opened.window.commands.open_path(bad)
    bar = opened.window.notices
    assert bar.isVisible()
    assert bar.what.text() == "“bad.mp4” could not be opened"
    assert "bad.mp4" in bar.why.text()
    assert bar.remedy.text() == "Open another…"
    assert opened.workspace.project is before
    bar.copy.click()
    report = QGuiApplication.clipboard().text()
    assert "bad.mp4" in report
    assert "Python" in report


def test_truncated_clip_is_said(desktop: Desktop, clip: Path, tmp_path: Path, qtbot: QtBot) -> None:
    bad = tmp_path / "cut.mkv"
    bad.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with qtbot.waitSignal(desktop.workspace.noticed, timeout=10_000):
        desktop.window.commands.open_path(bad)
    assert "cut.mkv" in desktop.window.notices.what.text()
    assert desktop.workspace.project.clip is None


def test_missing_clip_is_said(desktop: Desktop, tmp_path: Path, qtbot: QtBot) -> None:
    with qtbot.waitSignal(desktop.workspace.noticed, timeout=10_000):
        desktop.window.commands.open_path(tmp_path / "none.mp4")
    assert "none.mp4" in desktop.window.notices.why.text()


def test_project_is_saved_and_opened_again(opened: Desktop, pen, tmp_path: Path, qtbot: QtBot) -> None:
    documents, path = opened.workspace.documents, tmp_path / "edit.mattebox"
    opened.window.actions_.brush.trigger()
    pen.stroke((40, 80), (80, 80))
    commands.set_region_prompt(opened.workspace.project, opened.workspace.project.regions[0], "a red star")
    assert opened.window.isWindowModified()
    documents.save(path)
    assert not opened.window.isWindowModified()
    with qtbot.waitSignal(opened.workspace.screen.frame_ready, timeout=10_000):
        opened.window.commands.open_path(path)
    (region,) = opened.workspace.project.regions
    assert region.prompt == "a red star"
    assert region.masks.mask_at(5)[80, 60] == 255
    assert opened.window.regions.rows[0].prompt.text() == "a red star"
    assert opened.workspace.session.region is region


def test_damaged_project_is_said_and_the_open_one_stays(opened: Desktop, tmp_path: Path) -> None:
    before = opened.workspace.project
    before.changes.mark_saved()
    bad = tmp_path / "bad.mattebox"
    bad.write_bytes(b"nothing")
    opened.window.commands.open_path(bad)
    assert "not a Mattebox project" in opened.window.notices.why.text()
    assert opened.workspace.project is before


@pytest.mark.parametrize(("answer", "leaves"), [(BUTTON.Cancel, False), (BUTTON.Discard, True)])
def test_unsaved_changes_are_asked_about(
    opened: Desktop, monkeypatch: pytest.MonkeyPatch, answer: BUTTON, leaves: bool
) -> None:
    asked: list[str] = []

    def ask(name: str, _: object) -> BUTTON:
        asked.append(name)
        return answer

    monkeypatch.setattr(commands_of_window, "ask_to_save", ask)
    before = opened.workspace.project
    commands.set_seed(before, 4)
    opened.window.commands.new()
    assert asked == ["square"]
    assert (opened.workspace.project is not before) is leaves


def test_project_whose_clip_is_gone_offers_to_find_it(
    opened: Desktop, clip: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    path = tmp_path / "edit.mattebox"
    opened.workspace.documents.save(path)
    moved = tmp_path / "elsewhere.mkv"
    clip.rename(moved)
    with qtbot.waitSignal(opened.workspace.noticed, timeout=10_000):
        opened.window.commands.open_path(path)
    assert opened.window.notices.remedy.text() == "Find the clip…"
    with qtbot.waitSignal(opened.workspace.screen.frame_ready, timeout=10_000):
        opened.workspace.documents.relink(moved)
    assert not opened.window.notices.isVisible()


def test_unsaved_work_of_a_crashed_desktop_is_offered_and_recovered(
    opened: Desktop, home: Path, qtbot: QtBot
) -> None:
    commands.set_prompt(opened.workspace.project, "do not lose me")
    opened.workspace.documents.keep_aside()
    (kept,) = (home / "data" / "recovery").glob("*.mattebox")
    crashed = kept.with_name("999999999.mattebox")
    kept.rename(crashed)
    with qtbot.waitSignal(opened.workspace.noticed):
        opened.workspace.offer_recovery()
    opened.workspace.project.changes.mark_saved()
    opened.window.notices.remedy.click()
    assert opened.workspace.project.prompt == "do not lose me"
    assert opened.workspace.documents.dirty
    assert not crashed.exists()


def test_work_aside_is_gone_once_it_is_saved(opened: Desktop, home: Path, tmp_path: Path) -> None:
    documents: Documents = opened.workspace.documents
    commands.set_prompt(opened.workspace.project, "kept")
    documents.keep_aside()
    assert list((home / "data" / "recovery").iterdir())
    documents.save(tmp_path / "edit.mattebox")
    assert not list((home / "data" / "recovery").iterdir())


def test_edit_file_opens_as_a_project(desktop: Desktop, clip: Path, qtbot: QtBot) -> None:
    edit = clip.with_name("edit.toml")
    edit.write_text(
        'source = "square.mkv"\nrange = [2, 10]\nprompt = "a red star"\n'
        '[[region]]\nname = "left"\nprompt = "a star"\nbox = [10, 20, 30, 40]\n'
    )
    with qtbot.waitSignal(desktop.workspace.screen.frame_ready, timeout=10_000):
        desktop.window.commands.open_path(edit)
    project = desktop.workspace.project
    (region,) = project.regions
    assert (project.in_point, project.out_point, region.prompt) == (2, 10, "a star")
    mask = region.masks.mask_at(9)
    assert mask is not None
    assert mask[40, 20] == 255
    assert mask[10, 20] == 0
    assert region.masks.mask_at(10) is None
