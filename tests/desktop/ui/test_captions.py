"""The describe buttons: a real backend process, and a tiny Florence-2 that tells red from blue."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from mattebox_desktop.app import Desktop
from mattebox_desktop.model import commands
from mattebox_desktop.service.captions import CaptionOrder
from mattebox_desktop.service.job_view import ConnectionState, JobState
from mattebox_desktop.ui.caption_state import CaptionState
from mattebox_media import write_clip
from mattebox_proto.discovery import read_card
from mattebox_proto.paths import folders
from PySide6.QtCore import QEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

BACKEND_TESTS = Path(__file__).parents[2] / "backend"
SOON = 90_000  # milliseconds


@pytest.fixture(scope="session")
def florences() -> Any:
    """What makes the backend tests' tiny captioner, and the pictures that it knows."""
    spec = importlib.util.spec_from_file_location("tiny_florence", BACKEND_TESTS / "tiny_florence.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def captioner(florences: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = florences.build_tiny_captioner(tmp_path_factory.mktemp("models") / "tiny-florence")
    return made


@pytest.fixture(scope="module")
def backend_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a backend whose captions are real and whose renders take as long as they are told to. The
    folder `models` in it is the user's model folder.
    """
    home = tmp_path_factory.mktemp("backend")
    (home / "models").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATTEBOX_HOME", str(home))
        patch.setenv("HF_HUB_CACHE", str(home / "hub"))
        patch.setenv("OMP_NUM_THREADS", "1")
        settings = folders().config / "backend.toml"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(f"model_folders = ['{home / 'models'}']\n")
        script = BACKEND_TESTS / "server" / "inverting_backend.py"
        process = subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        give_up = time.monotonic() + 90
        while (card := read_card(folders().backend_file)) is None or card.pid != process.pid:
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.02)
    yield home
    process.terminate()
    process.wait(60)


@pytest.fixture
def clip(florences: Any, tmp_path: Path) -> Path:
    """Two red frames, then two blue ones."""
    path = tmp_path / "painted.mkv"
    colors = ("red", "red", "blue", "blue")
    write_clip(path, iter([florences.wall(color) for color in colors]), fps=Fraction(8))
    return path


@pytest.fixture
def models(backend_home: Path) -> Iterator[Path]:
    """The user's model folder, empty."""
    yield backend_home / "models"
    for folder in (backend_home / "models").iterdir():
        shutil.rmtree(folder)


@pytest.fixture
def serving(
    opened: Desktop, models: Path, backend_home: Path, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> Iterator[Desktop]:
    """The desktop on that backend."""
    monkeypatch.setenv("MATTEBOX_HOME", str(backend_home))
    connection, renders = opened.workspace.backend, opened.workspace.renders
    connection.start()
    qtbot.waitUntil(lambda: connection.status.state is ConnectionState.READY, timeout=SOON)
    yield opened
    for job in renders.active:
        opened.workspace.cancel(job.key)
    qtbot.waitUntil(lambda: not renders.active, timeout=SOON)


@pytest.fixture
def fetched(captioner: Path, models: Path) -> Path:
    return Path(shutil.copytree(captioner, models / "florence"))


@pytest.fixture
def ready(fetched: Path, serving: Desktop, qtbot: QtBot) -> Desktop:
    qtbot.waitUntil(serving.window.actions_.describe_source.isEnabled, timeout=SOON)
    return serving


def finished(desktop: Desktop, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: desktop.workspace.captions.purpose is None, timeout=SOON)


def test_was_is_filled_with_what_the_source_shows_at_the_in_point(ready: Desktop, qtbot: QtBot) -> None:
    edit, project = ready.window.edit, ready.workspace.project
    edit.describe_source.click()
    finished(ready, qtbot)
    assert edit.source_prompt.toPlainText() == project.source_prompt == "a red wall"
    commands.set_range(project, 2, 4)
    ready.window.actions_.describe_source.trigger()
    finished(ready, qtbot)
    assert project.source_prompt == "a blue wall"
    assert project.prompt == ""
    edit.describe_prompt.click()
    finished(ready, qtbot)
    assert edit.prompt.toPlainText() == project.prompt == "a blue wall"
    assert not ready.window.notices.isVisible()


def test_a_model_that_reads_many_words_is_given_a_paragraph(ready: Desktop, qtbot: QtBot) -> None:
    commands.set_backbone(ready.workspace.project, "a-video-model")
    ready.window.edit.describe_source.click()
    finished(ready, qtbot)
    assert ready.workspace.project.source_prompt == "the picture shows a red wall on gray ground"


def test_words_of_the_users_come_back_with_one_undo(ready: Desktop, qtbot: QtBot) -> None:
    edit, project, actions = ready.window.edit, ready.workspace.project, ready.window.actions_
    QTest.keyClicks(edit.source_prompt, "mine")
    edit.describe_source.click()
    finished(ready, qtbot)
    assert project.source_prompt == "a red wall"
    assert actions.undo.text() == "Undo describe “was”"
    QTest.keyClicks(edit.source_prompt, "!")
    actions.undo.trigger()
    assert edit.source_prompt.toPlainText() == project.source_prompt == "a red wall"
    actions.undo.trigger()
    assert edit.source_prompt.toPlainText() == project.source_prompt == "mine"
    actions.redo.trigger()
    assert edit.source_prompt.toPlainText() == project.source_prompt == "a red wall"


def test_without_a_captioner_the_buttons_say_how_to_get_one_and_notice_when_it_is_there(
    serving: Desktop, captioner: Path, models: Path, qtbot: QtBot
) -> None:
    window = serving.window
    tooltip = window.edit.describe_source.toolTip
    qtbot.waitUntil(lambda: "hf download" in tooltip(), timeout=SOON)
    for button in (window.edit.describe_source, window.edit.describe_prompt):
        assert not button.isEnabled()
        assert "florence-community/Florence-2-base" in button.toolTip()
        assert max(map(len, button.toolTip().splitlines())) <= 72
    shutil.copytree(captioner, models / "florence")
    QApplication.sendEvent(window, QEvent(QEvent.Type.WindowDeactivate))
    window.activateWindow()
    QApplication.sendEvent(window, QEvent(QEvent.Type.ActivationChange))
    qtbot.waitUntil(window.edit.describe_source.isEnabled, timeout=SOON)
    assert window.edit.describe_source.toolTip() == "Describe the source in “Was” (Ctrl+D)"
    window.edit.describe_source.click()
    finished(serving, qtbot)
    assert serving.workspace.project.source_prompt == "a red wall"


@pytest.fixture
def rendering(ready: Desktop, qtbot: QtBot) -> Desktop:
    """A render that takes minutes is under way."""
    project = ready.workspace.project
    region = commands.add_region(project, "left", "a red circle")
    commands.fill_mask(project, region, 0)
    for name, value in (("steps", 5000), ("delay", 0.05)):
        commands.set_parameter(project, name, value)
    ready.workspace.render()
    qtbot.waitUntil(lambda: ready.workspace.renders.jobs[0].state is JobState.RUNNING, timeout=SOON)
    return ready


def test_a_caption_that_waits_says_so_and_is_cancelled_by_its_button(
    rendering: Desktop, qtbot: QtBot
) -> None:
    window, project = rendering.window, rendering.workspace.project
    commands.set_source_prompt(project, "my own words")
    button = window.edit.describe_source
    button.click()
    assert rendering.workspace.captions.words == "Waiting for the backend…"
    assert button.toolTip().startswith("Stop describing")
    shown = [label for label in window.edit.findChildren(CaptionState) if label.isVisible()]
    assert [label.text() for label in shown] == ["Waiting for the backend…"]
    qtbot.wait(300)
    assert rendering.workspace.captions.purpose is not None, "it does not wait"
    assert button.isEnabled()
    button.click()
    assert rendering.workspace.captions.purpose is None
    assert button.toolTip().startswith("Describe the source")
    assert not any(label.isVisible() for label in shown)
    rendering.workspace.cancel(rendering.workspace.renders.jobs[0].key)
    window.edit.describe_prompt.click()
    finished(rendering, qtbot)
    assert (project.source_prompt, project.prompt) == ("my own words", "a red wall")
    assert not window.notices.isVisible()


def test_another_project_is_not_given_the_words_of_the_last_one(rendering: Desktop, qtbot: QtBot) -> None:
    before = rendering.workspace.project
    rendering.window.edit.describe_source.click()
    before.changes.mark_saved()
    rendering.window.commands.new()
    assert rendering.workspace.captions.purpose is None
    rendering.workspace.cancel(rendering.workspace.renders.jobs[0].key)
    qtbot.wait(500)
    assert before.source_prompt == rendering.workspace.project.source_prompt == ""
    assert not rendering.window.edit.describe_source.isEnabled(), "there is no clip"


def test_a_failure_is_said_in_the_bar_and_changes_nothing(
    ready: Desktop, fetched: Path, qtbot: QtBot
) -> None:
    (fetched / "model.safetensors").write_bytes(b"\0" * 64)
    project = ready.workspace.project
    commands.set_source_prompt(project, "my own words")
    ready.window.edit.describe_source.click()
    finished(ready, qtbot)
    assert ready.window.notices.what.text() == "The frame could not be described"
    assert "fetch the model again" in ready.window.notices.why.text()
    assert project.source_prompt == "my own words"


def test_an_edited_picture_is_described_in_place_of_the_frame(
    ready: Desktop, florences: Any, qtbot: QtBot
) -> None:
    said: list[str] = []
    clip = ready.workspace.project.clip
    assert clip is not None
    blue = florences.wall("blue", 20, 30)
    order = CaptionOrder("a test", clip.path, 0, "pocket-sd", said.append, pytest.fail, picture=blue)
    ready.workspace.captions.describe(order)
    finished(ready, qtbot)
    assert said == ["a blue wall"]
