"""docs/command-line.md and the commands themselves say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from mattebox_backend.cli import app as backend_app
from mattebox_desktop.cli import connecting
from mattebox_desktop.cli.app import app
from mattebox_proto.paths import HOME_VARIABLE

TEXT = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text(encoding="utf-8")


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for part in getattr(command, "commands", {}).values():
        yield from commands(part, f"{name} {part.name}")


COMMANDS = dict(commands(typer.main.get_command(app), "mattebox"))
SERVE = dict(commands(typer.main.get_command(backend_app), "backend"))["backend serve"]


def options(command: Any) -> set[str]:
    """The long names of a command's options."""
    given = [option for option in command.params if option.param_type_name == "option"]
    names = {name for option in given for name in option.opts if name.startswith("--")}
    return names - {"--help", "--install-completion", "--show-completion"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    assert f"`{name}" in TEXT
    for option in options(COMMANDS[name]):
        assert option in TEXT


def test_the_options_of_a_backend_and_the_variables_are_documented() -> None:
    assert "--idle-exit" in options(SERVE)
    variables = {connecting.TOKEN_VARIABLE, connecting.TLS_ROOTS_VARIABLE, HOME_VARIABLE}
    for name in options(SERVE) | variables:
        assert f"`{name}`" in TEXT
