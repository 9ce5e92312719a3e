"""The backend on this machine: found where one runs, started where none does, shared by all clients."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mattebox_proto.channel import Address, open_channel
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.discovery import BackendCard, process_lives, read_card, remove_card
from mattebox_proto.errors import BackendNotStarted, InvalidRequest
from mattebox_proto.file_lock import try_lock
from mattebox_proto.paths import Folders, folders, private_folder

IDLE_EXIT = 900
"""Seconds without a client or a job after which a backend that we started ends by itself."""

_TAIL_BYTES = 8000
_POLL = 0.05


def healthy(address: str, token: str, timeout: float = 3.0) -> bool:
    """Whether a backend answers there, knows the token and says that it serves."""
    with open_channel(Address.parse(address), token) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def find(where: Folders | None = None) -> BackendCard | None:
    """The running backend's card; None where there is none, or where the card is stale."""
    where = where or folders()
    card = read_card(where.backend_file)
    if card is None or not process_lives(card.pid) or not healthy(card.address, card.token):
        return None
    return card


def connect(
    *,
    device: str = "",
    idle_exit: float = IDLE_EXIT,
    timeout: float = 120.0,
    waiting: Callable[[float], None] | None = None,
) -> Client:
    """A client of this machine's backend, which is started when none runs.

    device: for a backend that has to be started; raises InvalidRequest when one runs on another device.
    timeout: seconds that a start may take. waiting: called several times a second with the
    seconds waited so far. Raises BackendNotStarted, with the end of the log, and VersionMismatch.
    """

    def endpoint() -> Endpoint:
        card = ensure(device=device, idle_exit=idle_exit, timeout=timeout, waiting=waiting)
        return Endpoint(card.address, card.token)

    client = Client.connect(endpoint(), renew=endpoint)
    try:
        _require_device(client, device)
    except BaseException:
        client.close()
        raise
    return client


def _require_device(client: Client, device: str) -> None:
    """A backend that chose its device by itself says "auto" on its card: ask what it chose."""
    if device in ("", "auto"):
        return
    running = client.info().device
    if device not in (running, running.partition(":")[0]):
        raise InvalidRequest(
            f"The running backend uses the device {running}, not {device}. "
            "Stop it with `mattebox serve --stop`, or leave --device out."
        )


def ensure(
    *,
    device: str = "",
    idle_exit: float = IDLE_EXIT,
    timeout: float = 120.0,
    waiting: Callable[[float], None] | None = None,
) -> BackendCard:
    """The card of this machine's backend, which is started when none runs; parameters as for `connect`.

    Two callers at once end up with one backend. A backend that runs is taken as it is, on whatever device.
    """
    where = folders()
    card = find(where)
    if card is None:
        with _start_lock(where, timeout, waiting):
            card = find(where)  # another process may have started it while this one waited
            if card is None:
                return _start(where, device, idle_exit, timeout, waiting)
    return card


def _start(
    where: Folders,
    device: str,
    idle_exit: float,
    timeout: float,
    waiting: Callable[[float], None] | None,
) -> BackendCard:
    if importlib.util.find_spec("torch") is None:
        raise BackendNotStarted(
            "The backend's packages are not installed here (torch is missing): install "
            "`mattebox[backend]`, or name a backend on another machine with --backend."
        )
    command = [sys.executable, "-P", "-m", "mattebox_backend", "serve", "--idle-exit", f"{idle_exit:g}"]
    if device:
        command += ["--device", device]
    where.log.mkdir(parents=True, exist_ok=True)
    with where.backend_log.open("ab") as log:
        begins = log.tell()
        process = _spawn(command, log, private_folder(where.run))
    try:
        card = _await_card(process, where, begins, timeout, waiting)
    except BaseException:
        _end(process)
        raise
    # The backend outlives this process; while both live, its end must not leave a zombie.
    threading.Thread(target=process.wait, name="mattebox-backend-reaper", daemon=True).start()
    return card


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _spawn(command: list[str], log: IO[bytes], folder: Path) -> subprocess.Popen[bytes]:
    """Starts a process that neither a closed terminal nor Ctrl-C in ours takes along."""
    detached: dict[str, int | bool] = {"start_new_session": True}
    if sys.platform == "win32":
        detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        **detached,
    )


def _await_card(
    process: subprocess.Popen[bytes],
    where: Folders,
    begins: int,
    timeout: float,
    waiting: Callable[[float], None] | None,
) -> BackendCard:
    started = time.monotonic()
    while True:
        card = read_card(where.backend_file)
        if card is not None and process_lives(card.pid) and healthy(card.address, card.token, timeout=1.0):
            return card
        waited = time.monotonic() - started
        status = process.poll()
        if status is not None:
            tail = _tail(where.backend_log, begins)
            if status == 2:  # what it was asked for cannot be: no log is needed to see why
                raise InvalidRequest(_last_line(tail))
            raise BackendNotStarted(
                f"The backend ended at its start (status {status}): {_last_line(tail)} "
                f"Its log: {where.backend_log}.",
                tail,
            )
        if waited > timeout:
            remove_card(where.backend_file, process.pid)
            raise BackendNotStarted(
                f"The backend did not answer within {timeout:g} s of its start. "
                f"Its log: {where.backend_log}.",
                _tail(where.backend_log, begins),
            )
        if waiting is not None:
            waiting(waited)
        time.sleep(_POLL)


def _tail(path: Path, begins: int) -> str:
    """The end of what this start wrote into the log."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(begins, size - _TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace").strip()


def _last_line(tail: str) -> str:
    line = tail.splitlines()[-1].strip() if tail else "it wrote nothing."
    return line if line.endswith((".", "!", "?")) else f"{line}."


@contextmanager
def _start_lock(where: Folders, timeout: float, waiting: Callable[[float], None] | None) -> Iterator[None]:
    """Held by the one process that starts the backend; the system releases it when that process dies."""
    private_folder(where.run)
    with (where.run / "start.lock").open("a+b") as file:
        started = time.monotonic()
        while not try_lock(file):
            waited = time.monotonic() - started
            if waited > timeout:
                raise BackendNotStarted(
                    f"Another process has been starting the backend for {timeout:g} s. "
                    f"Its log: {where.backend_log}."
                )
            if waiting is not None:
                waiting(waited)
            time.sleep(_POLL)
        yield
