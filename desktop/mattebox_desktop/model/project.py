"""The project: one clip, what should change in it, and the takes so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from mattebox_desktop.model.history import History
from mattebox_desktop.model.observed import Node, Observed, ObservedList
from mattebox_desktop.model.reference import Reference
from mattebox_desktop.model.region import Region, RegionLook

Value = bool | int | float | str
"""What a method's parameter can be."""


@dataclass(frozen=True, slots=True)
class ClipRef:
    """The source video as the project knows it; `content_hash` (sha256) identifies it wherever it lies.

    frame_rate: frames per second (average). content_hash: "" until it has been computed.
    """

    path: Path
    width: int
    height: int
    frame_count: int
    frame_rate: Fraction
    content_hash: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class Take:
    """A rendered result: frames [start, stop) of the clip, in a lossless video.

    path: on this machine; the backend also knows the take by `id`. report: what was measured.
    """

    id: str
    name: str
    path: Path
    start: int
    stop: int
    seed: int
    prompt: str
    made: str
    report: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


class Project(Node):
    """What the user made. Every change happens inside a transaction of `history`."""

    clip = Observed[ClipRef | None](None, "The clip")
    in_point = Observed(0, "The in point")
    out_point = Observed(0, "The out point")
    prompt = Observed("", "The prompt")
    source_prompt = Observed("", "What the clip shows")
    method = Observed("auto", "The method")
    backbone = Observed("pocket-sd", "The model")
    seed = Observed(0, "The seed")
    params = Observed[Mapping[str, Value]]({}, "The parameters")
    take_in_use = Observed[str | None](None, "The take in use")
    awaited_jobs = Observed[tuple[str, ...]]((), "The renders under way")

    def __init__(self, history: History | None = None) -> None:
        self.changes = History() if history is None else history
        super().__init__(self.changes)
        self.regions: ObservedList[Region] = ObservedList(self.changes, "The regions")
        self.references: ObservedList[Reference] = ObservedList(
            self.changes, "The references", weigh=lambda reference: reference.picture.nbytes
        )
        self.takes: ObservedList[Take] = ObservedList(self.changes, "The takes")
        self.extra: dict[str, Any] = {}
        self.extra_members: dict[str, bytes] = {}

    def take(self, id_: str | None) -> Take | None:
        return next((take for take in self.takes if take.id == id_), None)

    def references_of(self, region: Region) -> list[Reference]:
        """In the order of their frames."""
        found = [reference for reference in self.references if reference.region is region]
        return sorted(found, key=lambda reference: reference.frame)

    def references_at(self, frame: int) -> list[Reference]:
        """At most one for each region, the topmost region's first."""
        regions = list(self.regions)
        found = [reference for reference in self.references if reference.frame == frame]
        return sorted(found, key=lambda reference: -regions.index(reference.region))

    @property
    def looks(self) -> list[RegionLook]:
        return [RegionLook(region.color, region.letter) for region in self.regions]

    @property
    def next_take_name(self) -> str:
        """ "Take n", one above the highest so far: a deleted take's name is not given again."""
        numbers = [
            int(take.name[5:]) for take in self.takes if take.name[:5] == "Take " and take.name[5:].isdigit()
        ]
        return f"Take {max(numbers, default=0) + 1}"
