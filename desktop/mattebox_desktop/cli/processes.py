"""Commands that the backend runs itself, in a process of its own: `serve` and `bench`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import typer
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.discovery import process_lives
from mattebox_proto.local import find

from mattebox_desktop.cli.failures import FAILURE, UsageFault

_STOP_WITHIN = 30.0


def run_backend(arguments: Sequence[str]) -> int:
    """Runs `python -m mattebox_backend …` in this process's place; returns only where that cannot be done."""
    if importlib.util.find_spec("torch") is None:
        raise UsageFault(
            "The backend's packages are not installed here (torch is missing); install `mattebox[backend]`."
        )
    command = [sys.executable, "-P", "-m", "mattebox_backend", *arguments]
    sys.stdout.flush()
    if sys.platform != "win32":
        os.execv(sys.executable, command)  # noqa: S606 - our own interpreter
    return subprocess.run(command, check=False).returncode


def stop_backend() -> None:
    """Ends this machine's backend; an unfinished job goes on when it is started again."""
    card = find()
    if card is None:
        typer.echo("No backend is running.")
        return
    # No handshake: a backend of another version, too, can be stopped.
    with Client(Endpoint(card.address, card.token)) as client:
        client.shutdown()
    give_up = time.monotonic() + _STOP_WITHIN
    while process_lives(card.pid):
        if time.monotonic() > give_up:
            typer.echo(
                f"mattebox: the backend (process {card.pid}) has not ended within {_STOP_WITHIN:g} s.",
                err=True,
            )
            raise typer.Exit(FAILURE)
        time.sleep(0.05)
    typer.echo("The backend has ended.")
