"""From the Render button to a take: a real backend process, and a tiny model of random weights."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_desktop.app import Desktop
from mattebox_desktop.model import commands, reference_commands
from mattebox_desktop.model.reference import Picture
from mattebox_desktop.service.job_view import ConnectionState, JobState
from mattebox_media import open_clip
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.discovery import read_card
from mattebox_proto.errors import BackendError
from mattebox_proto.paths import folders
from pytestqt.qtbot import QtBot

SLOW = 420_000  # milliseconds; a busy machine starves the backend's process


def model_maker() -> Any:
    """The backend tests' own module that builds their models."""
    source = Path(__file__).parents[2] / "backend" / "conftest.py"
    spec = importlib.util.spec_from_file_location("backend_test_models", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backend tests' model folder."""
    made: Path = model_maker().build_tiny_model(tmp_path_factory.mktemp("model") / "tiny-sd")
    return made


@pytest.fixture(scope="session")
def tiny_wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backend tests' image-to-video model."""
    made: Path = model_maker().build_tiny_wan(tmp_path_factory.mktemp("model") / "tiny-wan")
    return made


@pytest.fixture
def backend(opened: Desktop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desktop]:
    """The desktop with its own backend process running; the process is ended afterwards."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    opened.workspace.backend.start()
    yield opened
    card = read_card(folders().backend_file)
    if card is not None:
        try:
            with Client(Endpoint(card.address, card.token)) as client:
                client.shutdown()
        except BackendError:
            os.kill(card.pid, signal.SIGKILL)
    for thread in threading.enumerate():
        if thread.name == "mattebox-backend-reaper":
            thread.join(60)  # it ends with the process


@pytest.fixture
def ready(backend: Desktop, qtbot: QtBot) -> Desktop:
    status = backend.workspace.backend
    qtbot.waitUntil(lambda: status.status.state is not ConnectionState.STARTING, timeout=SLOW)
    assert status.status.state is ConnectionState.READY, status.status.why
    return backend


def edit(desktop: Desktop, model: Path | str) -> None:
    project = desktop.workspace.project
    region = commands.add_region(project, "left", "a red circle")
    mask = np.zeros((120, 160), np.uint8)
    mask[30:70, 20:80] = 255
    with project.changes.transaction("Paint"):
        region.masks.set_key(0, mask)
    commands.set_range(project, 2, 4)
    commands.set_backbone(project, str(model))
    commands.set_parameter(project, "steps", 2)


def test_render_ends_in_a_take_that_keeps_the_background(
    ready: Desktop, tiny_model: Path, qtbot: QtBot
) -> None:
    workspace, window = ready.workspace, ready.window
    assert window.dot.words.startswith("local · ")
    assert window.edit.chosen is not None, "the methods came from the backend"
    edit(ready, tiny_model)
    with qtbot.waitSignal(workspace.take_added, timeout=SLOW):
        window.edit.render_button.click()
        (row,) = window.queue.rows.values()
    (take,) = workspace.project.takes
    assert (take.name, take.start, take.stop) == ("Take 1", 2, 4)
    assert workspace.project.take_in_use is None, "a finished take changes nothing else"
    assert row.ended
    assert workspace.renders.jobs[0].state is JobState.DONE
    clip = workspace.project.clip
    assert clip is not None
    with open_clip(take.path) as made, open_clip(clip.path) as source:
        assert made.info.frame_count == 2
        np.testing.assert_array_equal(made.frame(0)[80:], source.frame(2)[80:])
        assert not np.array_equal(made.frame(0)[40:60, 30:70], source.frame(2)[40:60, 30:70])


def test_a_reference_is_rendered_with_the_method_that_takes_it(
    backend: Desktop, tiny_wan: Path, qtbot: QtBot
) -> None:
    workspace, window = backend.workspace, backend.window
    edit(backend, tiny_wan)
    project = workspace.project
    commands.set_range(project, 2, 7)
    for name, value in (("motion_steps", 1), ("rank", 2), ("size", 64), ("blend", False)):
        commands.set_parameter(project, name, value)
    clip = project.clip
    assert clip is not None
    with open_clip(clip.path) as source:
        picture = source.frame(2).copy()
        picture[40:60, 30:70] = (10, 200, 20)
        reference_commands.add_reference(project, 2, project.regions[0], Picture(picture, "painted.png"))
        with qtbot.waitSignal(workspace.take_added, timeout=SLOW):
            window.actions_.render.trigger()  # before the backend has told which method takes references
        (take,) = project.takes
        with open_clip(take.path) as made:
            assert made.info.frame_count == 5
            np.testing.assert_array_equal(made.frame(3)[110:], source.frame(5)[110:])
            assert not np.array_equal(made.frame(0)[40:60, 30:70], source.frame(2)[40:60, 30:70])
    assert window.edit.method.currentText() == "Auto: references"


def test_refused_render_says_why_and_offers_to_try_again(ready: Desktop, qtbot: QtBot) -> None:
    edit(ready, "no-such-model")
    with qtbot.waitSignal(ready.workspace.renders.failed, timeout=SLOW):
        ready.window.actions_.render.trigger()
    qtbot.waitUntil(ready.window.notices.isVisible, timeout=SLOW)
    assert ready.window.notices.what.text() == "The render failed"
    assert "no-such-model" in ready.window.notices.why.text()
    assert ready.window.notices.remedy.text() == "Render again"


def test_cancelled_render_leaves_no_take(ready: Desktop, tiny_model: Path, qtbot: QtBot) -> None:
    edit(ready, tiny_model)
    commands.set_parameter(ready.workspace.project, "steps", 500)
    ready.window.actions_.render.trigger()
    qtbot.waitUntil(lambda: ready.workspace.renders.jobs[0].state is JobState.RUNNING, timeout=SLOW)
    ready.window.actions_.cancel.trigger()
    qtbot.waitUntil(lambda: ready.workspace.renders.jobs[0].state is JobState.CANCELLED, timeout=SLOW)
    assert len(ready.workspace.project.takes) == 0
    assert not ready.window.notices.isVisible()


def test_killed_backend_is_started_again(ready: Desktop, qtbot: QtBot) -> None:
    first = read_card(folders().backend_file)
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    states: list[ConnectionState] = []
    connection = ready.workspace.backend
    connection.changed.connect(lambda status: states.append(status.state))
    qtbot.waitUntil(lambda: ConnectionState.READY in states, timeout=SLOW)
    assert states[0] is ConnectionState.GONE
    second = read_card(folders().backend_file)
    assert second is not None
    assert second.pid != first.pid
