"""What can go wrong while a pocket model is trained."""

from __future__ import annotations


class PocketError(RuntimeError):
    """Base of the errors of training and measuring pocket models."""


class InvalidConfig(PocketError):
    """A training configuration that cannot be used."""


class UnusableCheckpoint(PocketError):
    """A checkpoint that is damaged or that another configuration made."""
