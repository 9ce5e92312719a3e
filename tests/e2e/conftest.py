"""What whole edits run with: the command line as a process, and a backend of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mattebox_desktop.cli.processes import stop_backend

Mattebox = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def mattebox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mattebox]:
    """Runs `mattebox ARGUMENTS…` as a process, in a home of its own; its backend ends with the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATTEBOX_HOME", str(tmp_path_factory.mktemp("home")))

        def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
            command = [
                sys.executable,
                "-c",
                "from mattebox_desktop.cli import main; main()",
                *map(str, arguments),
            ]
            return subprocess.run(command, capture_output=True, text=True, timeout=560, check=False)

        yield run
        stop_backend()
