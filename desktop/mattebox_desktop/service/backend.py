"""The backend as the desktop sees it: started, watched, started again when it dies, and said in words."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mattebox_proto.client import Client
from mattebox_proto.errors import BackendError, BackendGone, BackendNotStarted, Unauthorised
from mattebox_proto.local import connect
from mattebox_proto.paths import folders
from PySide6.QtCore import QObject, QTimer, Signal

from mattebox_desktop.service.job_view import (
    BackendStatus,
    CaptionerInfo,
    ConnectionState,
    MethodInfo,
    ModelInfo,
)
from mattebox_desktop.service.wire import captioner_info, method_infos, model_infos
from mattebox_desktop.service.worker import Worker

T = TypeVar("T")

HEARTBEAT_MS = 3000
RESTARTS = 3
RESTART_WINDOW = 120.0
_LOG_TAIL = 20_000
_Answer = tuple[Client, str, list[MethodInfo], list[ModelInfo], CaptionerInfo]
_AWAY = (BackendGone, Unauthorised)
"""A backend that only answers late is busy: to start it again would end its jobs."""


class BackendConnection(QObject):
    """Keeps one client of the local backend.

    A backend that goes away is started again, at most `RESTARTS` times in `RESTART_WINDOW` seconds.

    Signals: `changed(BackendStatus)`; `methods(list[MethodInfo])`, `models(list[ModelInfo])` and
    `captioner(CaptionerInfo)` once it is ready. `open_client` connects, starting a backend where none runs;
    it is given a function to call while it waits, which raises when the desktop closes meanwhile.
    """

    changed = Signal(object)
    methods = Signal(object)
    models = Signal(object)
    captioner = Signal(object)

    def __init__(
        self,
        open_client: Callable[[Callable[[float], None]], Client] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.status = BackendStatus(ConnectionState.IDLE, "backend not started")
        self.known_methods: list[MethodInfo] = []
        self.known_models: list[ModelInfo] = []
        self._open_client = open_client or (lambda waiting: connect(waiting=waiting))
        self._client: Client | None = None
        self._worker = Worker("backend calls", self)
        self._deaths: deque[float] = deque()
        self._beat = QTimer(self)
        self._beat.setInterval(HEARTBEAT_MS)
        self._beat.timeout.connect(self._check)
        self._checking = False

    @property
    def client(self) -> Client | None:
        """The client while the backend is ready; for threads of the services, never for a widget."""
        return self._client if self.status.state is ConnectionState.READY else None

    def start(self) -> None:
        """Connects in the background; does nothing while that is under way or done."""
        if self.status.state in (ConnectionState.STARTING, ConnectionState.READY, ConnectionState.CLOSED):
            return
        self._set(ConnectionState.STARTING, "starting the backend…")
        self._worker.submit(self._connected, self._ready, self._failed)

    def restart(self) -> None:
        """Tries again after a failure, with a clean slate."""
        self._deaths.clear()
        self.start()

    def call(
        self,
        work: Callable[[Client], T],
        done: Callable[[T], object],
        failed: Callable[[Exception], object],
    ) -> None:
        """Runs `work` with the client in the background; starts the backend first when need be."""
        self.start()

        def run() -> T:
            client = self._client
            if client is None:
                raise BackendNotStarted(self.status.why or "The backend is not running; start it again.")
            return work(client)

        def went_wrong(error: Exception) -> None:
            if isinstance(error, _AWAY):
                self.lost()
            failed(error)

        self._worker.submit(run, done, went_wrong)

    def lost(self) -> None:
        """Says that the backend has gone away; it is started again unless that happened too often."""
        if self.status.state is not ConnectionState.READY:
            return
        self._beat.stop()
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths and now - self._deaths[0] > RESTART_WINDOW:
            self._deaths.popleft()
        if len(self._deaths) > RESTARTS:
            self._set(
                ConnectionState.FAILED,
                "backend stopped",
                f"The backend ended {len(self._deaths)} times within {RESTART_WINDOW:g} seconds; "
                "copy the report to see why, then start it again.",
            )
            return
        self._set(ConnectionState.GONE, "backend went away, starting it again…")
        self._worker.submit(self._connected, self._ready, self._failed)

    def close(self) -> None:
        """Ends the connection. The backend itself ends when nobody has needed it for a while."""
        self._beat.stop()
        self.status = BackendStatus(ConnectionState.CLOSED, "closed")
        self._worker.stop()
        client, self._client = self._client, None
        if client is not None:
            client.close()  # a call under way ends at once
        self._worker.close()

    def log_tail(self) -> str:
        """The end of the backend's log, for a report."""
        return _tail(folders().backend_log)

    # -- in the worker ---------------------------------------------------------------------------------------

    def _connected(self) -> _Answer:
        self._client = None  # watchers may still listen on the old one: it closes with the last of them
        client = self._open_client(self._keep_waiting)
        try:
            self._client = client
            self._keep_waiting(0.0)  # closed meanwhile: nobody else would close this client
            info = client.info()
            words = f"local · {info.device_name or info.device.upper()} · ready"
            listed = client.list_models()
            models = model_infos(listed.models)
            return client, words, method_infos(client.methods()), models, captioner_info(listed)
        except BaseException:
            self._client = None
            client.close()
            raise

    def _keep_waiting(self, waited: float) -> None:
        if self._worker.closed:
            raise BackendNotStarted(
                f"The desktop was closed {waited:.0f} s after it began to start the backend."
            )

    # -- in the owner's thread -------------------------------------------------------------------------------

    def _ready(self, answer: _Answer) -> None:
        self._client, words, self.known_methods, self.known_models, captioner = answer
        self._set(ConnectionState.READY, words)
        self.methods.emit(self.known_methods)
        self.models.emit(self.known_models)
        self.captioner.emit(captioner)
        self._beat.start()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, (BackendError, OSError)):
            raise error
        self._set(ConnectionState.FAILED, "backend not running", str(error))

    def _check(self) -> None:
        client = self._client
        if client is None or self._checking:
            return
        self._checking = True
        self._worker.submit(client.info, lambda _: self._checked(None), self._checked)

    def _checked(self, error: Exception | None) -> None:
        self._checking = False
        if isinstance(error, _AWAY):
            self.lost()

    def _set(self, state: ConnectionState, words: str, why: str = "") -> None:
        self.status = BackendStatus(state, words, why)
        self.changed.emit(self.status)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
