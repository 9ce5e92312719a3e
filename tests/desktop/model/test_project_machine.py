"""A Hypothesis state machine: whatever order of clicks, undo and redo are exact and files lose nothing."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from mattebox_desktop.model import commands, reference_commands
from mattebox_desktop.model.brush import Brush
from mattebox_desktop.model.history import History
from mattebox_desktop.model.project import ClipRef, Project, Take
from mattebox_desktop.model.project_file import load_project, save_project
from mattebox_desktop.model.reference import Picture, Reference
from mattebox_desktop.model.region import OKABE_ITO, MaskMode, Region

FRAMES, WIDTH, HEIGHT = 8, 16, 12
FRAME = st.integers(0, FRAMES - 1)
PICK = st.integers(0, 10)


class Clock:
    """Far enough apart that no two steps merge."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def content(project: Project) -> Any:
    regions = [
        (
            *(region.id, region.name, region.prompt, region.color, region.letter, region.visible),
            *(region.mode, region.dilation, region.feather),
            tuple((k, None if m is None else m.tobytes()) for k, m in region.masks.keys.items()),
        )
        for region in project.regions
    ]
    references = [
        (reference.id, reference.frame, reference.region.id, reference.picture.pixels.tobytes())
        for reference in project.references
    ]
    fields = (project.in_point, project.out_point, project.prompt, project.source_prompt, project.method)
    more = (project.seed, tuple(sorted(project.params.items())), project.take_in_use)
    things = (tuple(regions), tuple(references))
    return fields, more, things, tuple(take.id for take in project.takes)


class ProjectMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.project = Project(History(clock=Clock()))
        commands.set_clip(self.project, ClipRef(Path("/c.mp4"), WIDTH, HEIGHT, FRAMES, Fraction(25)))
        self.states = [content(self.project)]
        self.at = 0
        self.takes = 0

    def _region(self, pick: int) -> Region:
        return self.project.regions[pick % len(self.project.regions)]

    def _reference(self, pick: int) -> Reference:
        return self.project.references[pick % len(self.project.references)]

    def _did(self) -> None:
        """Compares and notes the state after a command; one that changed nothing is no step."""
        now = content(self.project)
        if now != self.states[self.at]:
            self.states = [*self.states[: self.at + 1], now]
            self.at += 1

    @rule(text=st.text(max_size=6))
    def prompt(self, text: str) -> None:
        commands.set_prompt(self.project, text)
        self._did()

    @rule(value=st.one_of(st.booleans(), st.integers(-5, 5), st.text(max_size=3)))
    def parameter(self, value: bool | int | str) -> None:
        if self.project.params.get("p") != value or type(self.project.params.get("p")) is not type(value):
            commands.set_parameter(self.project, "p", value)
            self._did()

    @rule(a=FRAME, b=FRAME)
    def range_(self, a: int, b: int) -> None:
        commands.set_range(self.project, min(a, b), max(a, b) + 1)
        self._did()

    @precondition(lambda self: len(self.project.regions) < 4)
    @rule()
    def add(self) -> None:
        commands.add_region(self.project)
        self._did()

    @precondition(lambda self: len(self.project.regions))
    @rule(pick=PICK)
    def remove(self, pick: int) -> None:
        commands.remove_region(self.project, self._region(pick))
        self._did()

    @precondition(lambda self: len(self.project.regions))
    @rule(pick=PICK, to=PICK)
    def move(self, pick: int, to: int) -> None:
        commands.move_region(self.project, self._region(pick), to)
        self._did()

    @precondition(lambda self: len(self.project.regions))
    @rule(pick=PICK, name=st.text("abc", min_size=1, max_size=3), color=st.sampled_from(OKABE_ITO))
    def describe(self, pick: int, name: str, color: str) -> None:
        region = self._region(pick)
        with self.project.changes.transaction("Describe"):
            commands.rename_region(self.project, region, name)
            commands.set_region_color(self.project, region, color)
            commands.set_region_edge(self.project, region, mode=MaskMode.BOX, dilation=2, feather=len(name))
        self._did()

    @precondition(lambda self: len(self.project.regions))
    @rule(
        pick=PICK,
        frame=FRAME,
        x=st.floats(-2, 18),
        y=st.floats(-2, 14),
        size=st.floats(1, 9),
        erase=st.booleans(),
    )
    def paint(self, pick: int, frame: int, x: float, y: float, size: float, erase: bool) -> None:
        region = self._region(pick)
        with self.project.changes.transaction("Brush stroke"):
            stroke = region.masks.stroke(frame)
            stroke.touched(Brush(size, 0.6).draw(stroke.mask, (x, y), (y, x), erase=erase))
            stroke.finish()
        self._did()

    @precondition(lambda self: len(self.project.regions))
    @rule(pick=PICK, frame=FRAME)
    def cancelled_stroke(self, pick: int, frame: int) -> None:
        before = content(self.project)
        self.project.changes.begin("Brush stroke")
        stroke = self._region(pick).masks.stroke(frame)
        stroke.touched(Brush(5).draw(stroke.mask, (3, 3), (9, 9), erase=False))
        stroke.cancel()
        self.project.changes.abort()
        assert content(self.project) == before

    @precondition(lambda self: len(self.project.regions))
    @rule(pick=PICK, source=FRAME, a=FRAME, b=FRAME)
    def hold(self, pick: int, source: int, a: int, b: int) -> None:
        region = self._region(pick)
        start, stop = min(a, b), max(a, b) + 1
        shown = [_pixels(region, frame) for frame in range(FRAMES)]
        commands.hold_mask(self.project, region, source, start, stop)
        expected = [shown[source] if start <= f < stop else shown[f] for f in range(FRAMES)]
        assert [_pixels(region, frame) for frame in range(FRAMES)] == expected
        self._did()

    @precondition(lambda self: len(self.project.regions))
    @rule(pick=PICK, frame=FRAME, shade=st.integers(0, 255))
    def refer(self, pick: int, frame: int, shade: int) -> None:
        picture = Picture(np.full((HEIGHT, WIDTH, 3), shade, np.uint8))
        at_frame = self.project.references_at(frame)
        region = self._region(pick)
        same = [r for r in at_frame if r.region is region and r.picture.same_pixels(picture)]
        if not same:
            reference_commands.add_reference(self.project, frame, region, picture)
            self._did()

    @precondition(lambda self: len(self.project.references))
    @rule(pick=PICK, to=PICK, frame=FRAME)
    def tie_elsewhere(self, pick: int, to: int, frame: int) -> None:
        reference = self._reference(pick)
        if reference_commands.can_move(self.project, reference, frame):
            reference_commands.move_reference(self.project, reference, frame)
            self._did()
        region = self._region(to)
        if not any(r.region is region for r in self.project.references_at(reference.frame)):
            reference_commands.bind_reference(self.project, reference, region)
            self._did()

    @precondition(lambda self: len(self.project.references))
    @rule(pick=PICK)
    def remove_reference(self, pick: int) -> None:
        reference_commands.remove_reference(self.project, self._reference(pick))
        self._did()

    @rule(used=st.booleans())
    def take_arrives(self, used: bool) -> None:
        self.takes += 1
        take = Take(f"t{self.takes}", f"Take {self.takes}", Path("/t.mkv"), 0, 8, 0, "p", "now")
        commands.add_take(self.project, take)
        # Not a step of the user's: every remembered state has it too.
        self.states = [(f, m, r, (*t, take.id)) for f, m, r, t in self.states]

    @rule()
    def undo(self) -> None:
        if self.at > 0:
            self.project.changes.undo()
            self.at -= 1

    @precondition(lambda self: self.at < len(self.states) - 1)
    @rule()
    def redo(self) -> None:
        self.project.changes.redo()
        self.at += 1

    @invariant()
    def state_is_the_one_remembered(self) -> None:
        assert content(self.project) == self.states[self.at]

    @invariant()
    def every_reference_has_its_region(self) -> None:
        for reference in self.project.references:
            assert self.project.regions.index(reference.region) >= 0
        ties = [(reference.frame, reference.region.id) for reference in self.project.references]
        assert len(ties) == len(set(ties))

    @invariant()
    def a_file_loses_nothing(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "p.mattebox"
            save_project(self.project, path)
            assert content(load_project(path)) == content(self.project)


def _pixels(region: Region, frame: int) -> bytes:
    mask = region.masks.mask_at(frame)
    return (np.zeros((HEIGHT, WIDTH), np.uint8) if mask is None else mask).tobytes()


ProjectMachine.TestCase.settings = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestProjectMachine = ProjectMachine.TestCase
