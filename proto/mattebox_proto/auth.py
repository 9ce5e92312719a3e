"""The per-run token that every call carries."""

from __future__ import annotations

import hmac
import secrets

TOKEN_KEY = "x-mattebox-token"  # noqa: S105 - the name of the header, not a token
"""Metadata key of the token."""

ERROR_KEY = "mattebox-error"
"""Trailing metadata key of an error's kind: one of `mattebox_proto.errors.KINDS`."""


def new_token() -> str:
    """A fresh token: 32 random bytes, as text."""
    return secrets.token_urlsafe(32)


def token_matches(expected: str, given: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(expected.encode(), given.encode())
