"""What ships with Mattebox: model folders, the demo clip, icons and themes, read as package data."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable


def resource(*parts: str) -> Traversable:
    """The resource at ``parts`` below this package, as in ``resource("demo", "edit.toml")``; it need not
    exist.

    Wrap it in ``importlib.resources.as_file`` where a real path is needed.
    """
    return files(__name__).joinpath(*parts)


def model(name: str) -> Traversable:
    """The folder of the shipped model ``name``, as in ``model("pocket-sd")``."""
    return resource("models", name)


def demo() -> Traversable:
    """The folder of the demo: source clip, masks, ``edit.toml``."""
    return resource("demo")
