"""The references' row of the timeline: where each one lies, and the drag of one to another frame."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF

from mattebox_desktop.model import reference_commands as commands
from mattebox_desktop.model.history import History
from mattebox_desktop.model.reference import Reference
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui.thumbnails import thumbnail
from mattebox_desktop.ui.time_scale import TimeScale

ROW = 44.0
_MARGIN = 4.0


class ReferenceTrack:
    """Between press and release, a drag is one undo step."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._pressed: Reference | None = None
        self._moving: History | None = None

    @property
    def height(self) -> float:
        """Of the row; none where there is no reference."""
        return ROW if len(self._workspace.project.references) else 0.0

    def boxes(self, scale: TimeScale, row: QRectF) -> list[tuple[Reference, QRectF]]:
        """Each reference with its picture's place, from the back to the front: the chosen one is on top."""
        chosen = self._workspace.session.reference
        ordered = sorted(self._workspace.project.references, key=lambda r: (r is chosen, r.frame))
        return [(reference, self._box(reference, scale, row)) for reference in ordered]

    def at(self, point: QPointF, scale: TimeScale, row: QRectF) -> Reference | None:
        """The reference under a point of the view."""
        if not row.contains(point) or point.x() < scale.left:
            return None
        boxes = reversed(self.boxes(scale, row))
        return next((reference for reference, box in boxes if box.contains(point)), None)

    def press(self, reference: Reference) -> None:
        """Chooses it and goes to its frame."""
        self._workspace.session.reference = self._pressed = reference
        self._workspace.playback.stop()
        self._workspace.go_to(reference.frame)

    def drag(self, frame: int) -> None:
        """Moves what was pressed, with the playhead; frames where its region has another one are skipped."""
        reference, project = self._pressed, self._workspace.project
        if reference is None or frame == reference.frame:
            return
        if not commands.can_move(project, reference, frame):
            return
        if self._moving is None:
            self._moving = project.changes
            self._moving.begin("Move reference")
        commands.move_reference(project, reference, frame)
        self._workspace.go_to(frame)

    def release(self) -> None:
        """Ends the drag; the reference stays where it is."""
        history, self._moving = self._moving, None
        self._pressed = None
        if history is not None:
            history.commit()

    def cancel(self) -> bool:
        """Takes the drag back; whether there was one."""
        history, reference = self._moving, self._pressed
        self._moving = self._pressed = None
        if history is None or reference is None:
            return False
        history.abort()
        self._workspace.go_to(reference.frame)
        return True

    @staticmethod
    def _box(reference: Reference, scale: TimeScale, row: QRectF) -> QRectF:
        image = thumbnail(reference.picture)
        height = row.height() - 2 * _MARGIN
        width = min(height * image.width() / image.height(), 3 * height)
        return QRectF(scale.x(reference.frame), row.y() + _MARGIN, width, height)
