"""Runs a backend as a process: signals, the idle clock, the log."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

from mattebox_proto.paths import folders
from mattebox_proto.version import version

from mattebox_backend.server.backend import Backend, EngineMaker, Options, render_engine
from mattebox_backend.settings import load_settings

_log = logging.getLogger(__name__)


def serve(
    options: Options,
    *,
    idle_exit: float = 0.0,
    engine: EngineMaker = render_engine,
    say: Callable[[str], None] = print,
) -> None:
    """Serves until a signal, a Shutdown call, or `idle_exit` seconds (0: never) without calls and jobs.

    say: shows a line to whoever started it. Raises MatteboxError subclasses when it cannot start.
    """
    where = folders()
    backend = Backend(where, load_settings(where), options, engine=engine)
    _log_to(where.backend_log)
    end_on_signals(backend.stopping)
    card = backend.start()
    say(f"Mattebox backend {version()} serves at {', '.join(backend.addresses)} (process {card.pid}).")
    if options.certificate is not None:
        say(f"Clients on other machines need its token: MATTEBOX_TOKEN={backend.token}")
    try:
        while not backend.stopping.wait(1.0 if idle_exit else None):
            if idle_exit and backend.idle_seconds() >= idle_exit:
                _log.info("no client and no job for %g s", idle_exit)
                break
    finally:
        _log.info("stopping")
        backend.stop()
    _log.info("stopped")


def end_on_signals(stopping: threading.Event) -> None:
    """The first signal sets `stopping`, the second ends the process at once.

    A handler in Python runs once the main thread comes to it: never, where that thread went to wait at that
    moment, and between two steps of the event's own code at worst. So the interpreter writes the signal's
    number to a socket, as it arrives, and a thread of its own reads there and sets the event.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)

    def end() -> None:
        with heard:
            heard.recv(1)
            stopping.set()
            if second := heard.recv(1):
                os._exit(128 + second[0])

    threading.Thread(target=end, name="mattebox-signals", daemon=True).start()
    signal.set_wakeup_fd(told.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_to_the_thread)


def _leave_to_the_thread(_number: int, _frame: FrameType | None) -> None:
    """A signal without a handler in Python would end the process."""


def _log_to(path: Path) -> None:
    """Logs to stderr, and to the log file unless stderr is that file already (a client started us so)."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if not _is_stderr(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(RotatingFileHandler(path, maxBytes=5 << 20, backupCount=2, encoding="utf-8"))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
        force=True,
    )


def _is_stderr(path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stderr.fileno()))
    except (OSError, ValueError):
        return False
