"""The layout of `project.json`. Unknown fields are allowed and kept."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mattebox_desktop.model.region import MaskMode

MAIN = "project.json"
MASKS, REFERENCES = "masks/", "references/"
"""The members of the archive, and the folders of its pictures."""
_ID = re.compile(r"^[0-9A-Za-z_-]{1,64}$")


class Record(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class ClipRecord(Record):
    """path is absolute; relative is from the project's folder. frame_rate: "numerator/denominator"."""

    path: str
    relative: str | None = None
    width: Annotated[int, Field(gt=0, le=65536)]
    height: Annotated[int, Field(gt=0, le=65536)]
    frame_count: Annotated[int, Field(gt=0)]
    frame_rate: Annotated[str, Field(pattern=r"^[1-9]\d*/[1-9]\d*$")]
    content_hash: str = ""


class KeyRecord(Record):
    """mask: the PNG's name in the archive; null ends the hold of the key before."""

    frame: Annotated[int, Field(ge=0)]
    mask: str | None = None


class RegionRecord(Record):
    id: Annotated[str, Field(pattern=_ID)]
    name: str
    prompt: str = ""
    color: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
    letter: Annotated[str, Field(min_length=1, max_length=2)]
    visible: bool = True
    mode: MaskMode = MaskMode.TIGHT
    dilation: Annotated[int, Field(ge=0)] = 0
    feather: Annotated[int, Field(ge=0)] = 0
    words: list[str] = []
    keys: list[KeyRecord] = []


class ReferenceRecord(Record):
    """region: the id of one. picture: the PNG's name in the archive. source: the file it was read from; "" is
    the clip's own frame.
    """

    id: Annotated[str, Field(pattern=_ID)]
    frame: Annotated[int, Field(ge=0)]
    region: str
    picture: str
    source: str = ""


class TakeRecord(Record):
    id: str
    name: str
    path: str
    start: int
    stop: int
    seed: int
    prompt: str
    made: str
    report: dict[str, Any] = {}


class ProjectRecord(Record):
    format: str
    version: int
    clip: ClipRecord | None = None
    in_point: int = 0
    out_point: int = 0
    prompt: str = ""
    source_prompt: str = ""
    method: str = "auto"
    backbone: str = "pocket-sd"
    seed: int = 0
    params: dict[str, bool | int | float | str] = {}
    take_in_use: str | None = None
    awaited_jobs: list[str] = []
    regions: list[RegionRecord] = []
    references: list[ReferenceRecord] = []
    takes: list[TakeRecord] = []


def unknown(record: Record) -> dict[str, Any]:
    """The fields of a record that this version does not know."""
    return dict(record.__pydantic_extra__ or {})
