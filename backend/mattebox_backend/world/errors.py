"""What can be wrong with a scene."""

from __future__ import annotations


class InvalidScene(ValueError):
    """A scene, an edit of one, or its JSON that makes no sense; the message says what to change."""
