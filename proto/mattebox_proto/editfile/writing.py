"""Writes edit files: TOML as a person would lay it out, saved atomically."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mattebox_proto.atomic_file import replacing
from mattebox_proto.editfile.spec import EditFile

_BARE = re.compile(r"^[A-Za-z0-9_-]+$")


def to_toml(edit: EditFile) -> str:
    """The file's text; values that equal their defaults are left out. `parse` reads back an equal edit."""
    content = edit.model_dump(by_alias=True, exclude_defaults=True, mode="python")
    tables = {key: content.pop(key) for key in ("region", "reference", "params") if key in content}
    lines = _pairs(content)
    for key in ("region", "reference"):
        for entry in tables.get(key, []):
            lines += ["", f"[[{key}]]", *_pairs(entry)]
    if "params" in tables:
        lines += ["", "[params]", *_pairs(tables["params"])]
    return "\n".join(lines) + "\n"


def save(edit: EditFile, path: Path) -> None:
    """Replaces the file in one step: a reader sees the old one or the new one."""
    with replacing(path) as file:
        file.write(to_toml(edit).encode())


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None]


def _key(key: str) -> str:
    return key if _BARE.match(key) else _text(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case Mapping():
            return "{" + ", ".join(_pairs(value)) + "}"
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case _:
            raise TypeError(f"an edit file cannot hold {value!r}")


def _text(text: str) -> str:
    """A TOML basic string: JSON's escapes are all valid in it, and DEL must be escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
