"""Reads edit files; a fault becomes a sentence that names the key, its value and the remedy."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mattebox_proto.editfile.spec import ControlSpec, EditFile, Keyframe, ReferenceSpec, RegionSpec
from mattebox_proto.errors import InvalidEditFile

_TABLES: dict[str, type[BaseModel]] = {
    "region": RegionSpec,
    "reference": ReferenceSpec,
    "control": ControlSpec,
    "box": Keyframe,
    "ellipse": Keyframe,
}
_LARGEST = 16 << 20
_NO_REGION = "{} has no region; add a [[region]] that says what should change where."
_KEYFRAMES = "keyframes of it, [{{frame = 0, value = {0}}}, …]"
_FORMS = {
    "box": "[x, y, width, height] or " + _KEYFRAMES.format("[x, y, width, height]"),
    "ellipse": "[center x, center y, radius x, radius y] or " + _KEYFRAMES.format("[…]"),
    "range": "[start, stop], two frame numbers from 0",
    "params": "true or false, a number or a text",
}


def load(path: str | Path) -> EditFile:
    """Reads a TOML file, or JSON where the name ends in ``.json``. Raises InvalidEditFile."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if path.is_dir() or size > _LARGEST:
            what = "a folder" if path.is_dir() else f"{size} bytes long"
            raise InvalidEditFile(f"{path} is {what}, not an edit file; give a TOML file.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidEditFile(f"The edit file {path} does not exist.") from None
    except UnicodeDecodeError:
        raise InvalidEditFile(f"{path} is no text file; an edit file is TOML in UTF-8.") from None
    except OSError as error:
        raise InvalidEditFile(f"The edit file {path} cannot be read: {error.strerror}.") from error
    try:
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise InvalidEditFile(f"{path} is not valid {_language(path)}: {error}.") from error
    return parse(content, str(path))


def parse(content: object, name: str = "The edit") -> EditFile:
    """Checks what was read; `name` begins every message."""
    if not isinstance(content, Mapping):
        raise InvalidEditFile(f"{name} holds no table of keys; see docs/edit-file.md.")
    try:
        return EditFile.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        sentence = _sentence(name, _deepest(faults), content)
        more = len({fault["loc"][:2] for fault in faults}) - 1
        raise InvalidEditFile(sentence + (f" ({more} more to mend.)" if more else "")) from error


def schema() -> dict[str, Any]:
    """The JSON schema of the edit file, made from the models."""
    made = EditFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _language(path: Path) -> str:
    return "JSON" if path.suffix.lower() == ".json" else "TOML"


def _deepest(faults: Sequence[ErrorDetails]) -> ErrorDetails:
    """The first fault; of a value that fits none of several forms, the form that it came closest to."""
    first = faults[0]
    key = _path(first)
    same = [fault for fault in faults if _path(fault)[:3] == key[:3]]
    return max(same, key=lambda fault: len(_path(fault)))


def _path(fault: ErrorDetails) -> tuple[str | int, ...]:
    """The keys as they stand in the file: without the names that pydantic gives to the forms of a union."""
    location = fault["loc"]
    # Keys that the file made up may be named like a form: an unknown one, and one of [params].
    own = {len(location) - 1} if fault["type"] == "extra_forbidden" else set()
    if "params" in location:
        own.add(location.index("params") + 1)
    return tuple(part for place, part in enumerate(location) if place in own or not _is_form(part))


def _is_form(part: str | int) -> bool:
    words, beginnings = ("bool", "int", "float", "str"), ("tuple[", "list[", "constrained-", "function-")
    return isinstance(part, str) and (part in words or part.startswith(beginnings))


def _sentence(name: str, fault: ErrorDetails, content: Mapping[str, Any]) -> str:
    path = _path(fault)
    where, key = _where(path, content), str(path[-1]) if path else ""
    given = fault["input"]
    context = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            return f"{name}: unknown key {key!r}{_of(path, content)}; {_nearest(key, path)}"
        case "missing" if key == "region":
            return _NO_REGION.format(name)
        case _ if fault["type"] != "value_error" and (form := _form(path)):
            return f"{name}: {_whole(path, content)} is not {form}."
        case "missing":
            return f"{name}: {key!r} is missing{_of(path, content).replace(' of ', ' in ', 1)}."
        case "literal_error":
            choices = str(context["expected"]).replace("'", "")
            return f"{name}: {where} = {given!r} is not known; it is one of {choices}."
        case "value_error":
            said = str(context["error"])
            return f"{name} {said}." if not path else f"{name}: {where} {said}."
        case "too_short" if key == "region":
            return _NO_REGION.format(name)
        case "string_pattern_mismatch" | "string_too_short" if key != "color":
            return f"{name}: {where} is empty; write what it should be."
        case "string_pattern_mismatch":
            return f'{name}: {where} = {given!r} is no colour; write it as "#rrggbb".'
        case _:
            said = (
                fault["msg"]
                .replace("Input should", "it should")
                .replace("a valid integer", "a whole number")
                .replace("valid ", "")
            )
            return f"{name}: {where} = {_short(given)} does not fit: {said[:1].lower()}{said[1:]}."


def _form(path: Sequence[str | int]) -> str:
    """What a key that takes more than one form looks like when it is right; empty for all other keys."""
    if len(path) > 2 and path[0] in ("region", "control") and isinstance(path[1], int):
        return _FORMS.get(str(path[2]), "")
    return _FORMS.get(str(path[0]), "") if path else ""


def _whole(path: Sequence[str | int], content: Mapping[str, Any]) -> str:
    """The key that `_form` speaks of, and all that the file gives it."""
    depth = {"region": 3, "params": 2, "control": 4}.get(str(path[0]), 1)
    value: Any = content
    for part in path[:depth]:
        value = value[part]
    return f"{_where(path[:depth], content)} = {_short(value)}"


def _where(path: Sequence[str | int], content: Mapping[str, Any]) -> str:
    keys = [part for part in path if isinstance(part, str)]
    if len(path) == 2 and isinstance(path[1], int):
        return f"{path[0]} {_label(path, content)}"
    return f"{keys[-1] if keys else 'the file'}{_of(path, content)}"


def _of(path: Sequence[str | int], content: Mapping[str, Any]) -> str:
    """Which region or reference is meant, by its name where it has one; empty at the top level."""
    if len(path) < 2 or not isinstance(path[1], int):
        return f" in [{path[0]}]" if len(path) > 1 else ""
    return "" if len(path) == 2 else f" of {path[0]} {_label(path, content)}"


def _label(path: Sequence[str | int], content: Mapping[str, Any]) -> str:
    entry = content[str(path[0])][path[1]]
    label = entry.get("name") if isinstance(entry, Mapping) else None
    return repr(label) if isinstance(label, str) else f"number {int(path[1]) + 1}"


def _nearest(key: str, path: Sequence[str | int]) -> str:
    tables = [part for part in path[:-1] if isinstance(part, str)]
    table = _TABLES.get(tables[-1], EditFile) if tables else EditFile
    valid = [field.alias or name for name, field in table.model_fields.items()]
    likeness = {name: _likeness(key.lower(), name) for name in valid}
    best = max(valid, key=lambda name: likeness[name])
    return f"did you mean {best!r}?" if likeness[best] > 0.5 else f"valid keys are {', '.join(valid)}."


def _likeness(a: str, b: str) -> float:
    """0 to 1; the order of the words in a key does not count (prompt_source, source_prompt)."""
    pairs = ((a, b), ("_".join(sorted(a.split("_"))), "_".join(sorted(b.split("_")))))
    return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
