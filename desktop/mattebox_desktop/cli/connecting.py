"""The backend that a command talks to: the one --backend names, or this machine's, started if need be."""

from __future__ import annotations

import os
from pathlib import Path

from mattebox_proto import local
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.discovery import read_card
from mattebox_proto.paths import folders
from rich.console import Console

from mattebox_desktop.cli.failures import UsageFault

TOKEN_VARIABLE = "MATTEBOX_TOKEN"  # noqa: S105 - the name of a variable
TLS_ROOTS_VARIABLE = "MATTEBOX_TLS_ROOTS"


def connect(backend: str, device: str = "") -> Client:
    """Raises BackendError, in words, when there is no backend to be had."""
    if backend:
        if device:
            raise UsageFault("--device is for a backend that is started here; leave it out with --backend.")
        return Client.connect(Endpoint(backend, _token(backend), _tls_roots()))
    with Console(stderr=True).status("Looking for the backend…") as status:

        def waiting(seconds: float) -> None:
            status.update(f"Starting the backend… {seconds:.0f} s")

        return local.connect(device=device, waiting=waiting)


def _token(address: str) -> str:
    given = os.environ.get(TOKEN_VARIABLE, "")
    card = read_card(folders().backend_file)
    if not given and card is not None and card.address == address:
        return card.token
    return given


def _tls_roots() -> bytes | None:
    path = os.environ.get(TLS_ROOTS_VARIABLE, "")
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageFault(
            f"{TLS_ROOTS_VARIABLE} names {path}, which cannot be read: {error.strerror}."
        ) from error
