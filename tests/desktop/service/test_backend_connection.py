"""The backend's states in words: what is said when it cannot be started, or dies too often."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mattebox_desktop.service.backend import RESTARTS, BackendConnection
from mattebox_desktop.service.job_view import ConnectionState
from mattebox_proto.errors import BackendGone, BackendNotStarted, DeadlineExceeded
from mattebox_proto.mattebox.v1 import system_pb2
from pytestqt.qtbot import QtBot


class Backend:
    """Stands where `connect` stands: counts the starts, and fails or dies when told to."""

    def __init__(self) -> None:
        self.starts = 0
        self.broken = False
        self.dead = False

    def open(self, _: Any) -> Any:
        self.starts += 1
        if self.broken:
            raise BackendNotStarted("The backend ended at its start (status 1): no disk.", "log line")
        self.dead = False
        return self

    def info(self) -> Any:
        if self.dead:
            raise BackendGone("The backend is gone.")
        return SimpleNamespace(device="cpu", device_name="CPU")

    def methods(self) -> list[Any]:
        return []

    def list_models(self) -> Any:
        return system_pb2.ListModelsResponse(captioner_note="There is none.")

    def close(self) -> None:
        pass


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def connection(
    backend: Backend, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BackendConnection]:
    monkeypatch.setenv("MATTEBOX_HOME", str(tmp_path))
    made = BackendConnection(backend.open)
    yield made
    made.close()
    assert made.status.state is ConnectionState.CLOSED


def wait_for(qtbot: QtBot, connection: BackendConnection, state: ConnectionState) -> None:
    qtbot.waitUntil(lambda: connection.status.state is state, timeout=10_000)


def test_ready_says_where_it_runs(connection: BackendConnection, qtbot: QtBot) -> None:
    connection.start()
    assert connection.status.state is ConnectionState.STARTING
    wait_for(qtbot, connection, ConnectionState.READY)
    assert connection.status.words == "local · CPU · ready"


def test_failed_start_is_said_and_can_be_tried_again(
    connection: BackendConnection, backend: Backend, qtbot: QtBot
) -> None:
    backend.broken = True
    connection.start()
    wait_for(qtbot, connection, ConnectionState.FAILED)
    assert connection.status.why == "The backend ended at its start (status 1): no disk."
    backend.broken = False
    connection.restart()
    wait_for(qtbot, connection, ConnectionState.READY)


def test_work_is_refused_in_words_while_it_cannot_be_started(
    connection: BackendConnection, backend: Backend, qtbot: QtBot
) -> None:
    backend.broken = True
    errors: list[Exception] = []
    connection.call(lambda client: client, lambda _: None, errors.append)
    qtbot.waitUntil(lambda: bool(errors), timeout=10_000)
    assert isinstance(errors[0], BackendNotStarted)


def test_backend_that_keeps_dying_is_given_up(
    connection: BackendConnection, backend: Backend, qtbot: QtBot
) -> None:
    connection.start()
    wait_for(qtbot, connection, ConnectionState.READY)
    for start in range(2, 2 + RESTARTS):
        backend.dead = True
        connection._check()
        qtbot.waitUntil(lambda start=start: backend.starts == start, timeout=10_000)
        wait_for(qtbot, connection, ConnectionState.READY)
    backend.dead = True
    connection._check()
    wait_for(qtbot, connection, ConnectionState.FAILED)
    assert "ended 4 times" in connection.status.why
    assert backend.starts == 1 + RESTARTS


def test_a_late_answer_does_not_start_it_again(
    connection: BackendConnection, backend: Backend, qtbot: QtBot
) -> None:
    connection.start()
    wait_for(qtbot, connection, ConnectionState.READY)
    errors: list[Exception] = []

    def slow(_: object) -> None:
        raise DeadlineExceeded("The backend did not answer within 15 s.")

    connection.call(slow, lambda _: None, errors.append)
    qtbot.waitUntil(lambda: bool(errors), timeout=10_000)
    assert connection.status.state is ConnectionState.READY
    assert backend.starts == 1


def test_work_that_finds_it_gone_starts_it_again(
    connection: BackendConnection, backend: Backend, qtbot: QtBot
) -> None:
    connection.start()
    wait_for(qtbot, connection, ConnectionState.READY)
    backend.dead = True
    errors: list[Exception] = []
    connection.call(lambda client: client.info(), lambda _: None, errors.append)
    qtbot.waitUntil(lambda: backend.starts == 2, timeout=10_000)
    wait_for(qtbot, connection, ConnectionState.READY)
    assert isinstance(errors[0], BackendGone)
