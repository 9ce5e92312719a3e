"""Which Mattebox this is, and which revision of the contract it speaks."""

from __future__ import annotations

from functools import cache
from importlib import metadata

CONTRACT = 1
"""Revision of ``mattebox/v1``. Raised only when old and new can no longer talk; added fields do not."""


@cache
def version() -> str:
    """The installed distribution's version, such as ``"0.1.0"``; ``"0+source"`` when not installed."""
    try:
        return metadata.version("mattebox")
    except metadata.PackageNotFoundError:
        return "0+source"


def mismatch(client: str, client_contract: int, backend: str, backend_contract: int) -> str:
    """Says in words why a client and a backend cannot work together; empty when they can."""
    if client_contract == backend_contract:
        return ""
    older, newer = (
        ("the backend", "this Mattebox")
        if backend_contract < client_contract
        else ("this Mattebox", "the backend")
    )
    return (
        f"This is Mattebox {client} (contract {client_contract}), and the backend is {backend} "
        f"(contract {backend_contract}): {older} is older than {newer}. "
        f"Update {older}, or stop the running backend so that a matching one starts."
    )
