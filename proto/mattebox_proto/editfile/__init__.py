"""The edit file: an edit as people write it, in TOML (or JSON). ``docs/edit-file.md`` documents it."""

from __future__ import annotations

from mattebox_proto.editfile.message import edit_message
from mattebox_proto.editfile.reading import load, parse, schema
from mattebox_proto.editfile.spec import ControlSpec, EditFile, Keyframe, ReferenceSpec, RegionSpec
from mattebox_proto.editfile.writing import save, to_toml

__all__ = [
    "ControlSpec",
    "EditFile",
    "Keyframe",
    "ReferenceSpec",
    "RegionSpec",
    "edit_message",
    "load",
    "parse",
    "save",
    "schema",
    "to_toml",
]
