"""Tools as generators: press → a yield per move → release. One gesture is one function and one undo step.

A gesture is closed (`Generator.close`) when Esc cancels it; it then leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF

from mattebox_desktop.model import commands
from mattebox_desktop.model.brush import fill_box
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.region import Region
from mattebox_desktop.model.session import Session, Tool


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where the pen is: (x, y) in frame pixels, `view` in view pixels. `erase`: Alt is down."""

    x: float
    y: float
    view: QPointF
    erase: bool = False
    released: bool = False

    @property
    def position(self) -> tuple[float, float]:
        return self.x, self.y


Gesture = Generator[QRectF | None, Pointer, None]
"""Yields what to draw as a rubber band, in frame pixels, and is sent where the pen went."""


def gesture_of(tool: Tool, project: Project, session: Session, press: Pointer) -> Gesture:
    """The gesture that a press with `tool` begins."""
    if tool is Tool.BOX:
        return box(project, session, press)
    if tool is Tool.SELECT:
        return select(project, session, press)
    return paint(project, session, press, erase=press.erase or tool is Tool.ERASE)


def paint(project: Project, session: Session, press: Pointer, *, erase: bool) -> Gesture:
    """Brush and eraser; the first stroke makes a region when there is none."""
    brush = session.brush
    with project.changes.transaction("Erase" if erase else "Brush stroke"):
        region = _target(project, session, erase)
        if region is None:
            yield from _until_release()
            return
        stroke = region.masks.stroke(session.frame)
        last = press.position
        stroke.touched(brush.draw(stroke.mask, last, last, erase=erase))
        try:
            pointer = yield None
            while not pointer.released:
                stroke.touched(brush.draw(stroke.mask, last, pointer.position, erase=erase))
                last = pointer.position
                pointer = yield None
        except GeneratorExit:
            stroke.cancel()
            raise
        stroke.finish()


def box(project: Project, session: Session, press: Pointer) -> Gesture:
    """Drags a box and fills it, or with Alt empties it."""
    pointer = press
    while not pointer.released:
        pointer = yield _band(press, pointer)
    with project.changes.transaction("Erase box" if press.erase else "Box"):
        region = _target(project, session, press.erase)
        if region is None:
            return
        stroke = region.masks.stroke(session.frame)
        stroke.touched(fill_box(stroke.mask, press.position, pointer.position, erase=press.erase))
        stroke.finish()


def select(project: Project, session: Session, press: Pointer) -> Gesture:
    """A click selects the topmost region under it."""
    pointer = press
    while not pointer.released:
        pointer = yield None
    session.region = region_under(project, session.frame, *press.position)


def drag(moved: Callable[[QPointF], None], press: Pointer) -> Gesture:
    """Calls `moved` with every position in view pixels: panning, the wipe handle."""
    pointer = press
    while not pointer.released:
        pointer = yield None
        moved(pointer.view)


def region_under(project: Project, frame: int, x: float, y: float) -> Region | None:
    """The topmost shown region whose mask covers the frame pixel at (x, y)."""
    for region in reversed(list(project.regions)):
        mask = region.masks.mask_at(frame) if region.visible else None
        if mask is None or not (0 <= x < mask.shape[1] and 0 <= y < mask.shape[0]):
            continue
        if mask[int(y), int(x)] >= 128:
            return region
    return None


def _target(project: Project, session: Session, erase: bool) -> Region | None:
    """The region to paint into; None when there is nothing to erase."""
    region = session.region
    if erase:
        return region if region is not None and region.masks.mask_at(session.frame) is not None else None
    if region is None:
        region = commands.add_region(project)
        session.region = region
    return region


def _until_release() -> Gesture:
    pointer = yield None
    while not pointer.released:
        pointer = yield None


def _band(press: Pointer, pointer: Pointer) -> QRectF:
    return QRectF(QPointF(press.x, press.y), QPointF(pointer.x, pointer.y)).normalized()
