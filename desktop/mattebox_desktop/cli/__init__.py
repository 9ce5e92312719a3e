"""The `mattebox` command. A command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from mattebox_desktop.cli.app import main

__all__ = ["main"]
