"""The timeline: a filmstrip, the playhead, in and out, and one track per region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto
from typing import Any

from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QContextMenuEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from mattebox_desktop.model import commands
from mattebox_desktop.model.bindings import Bindings
from mattebox_desktop.model.history import History
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.rect import Rect
from mattebox_desktop.model.reference import Reference
from mattebox_desktop.model.region import Region
from mattebox_desktop.model.session import Session
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui import timeline_painting as painting
from mattebox_desktop.ui.pictures import picture
from mattebox_desktop.ui.reference_track import ReferenceTrack
from mattebox_desktop.ui.time_scale import TimeScale

_GRAB = 6.0


class _Drag(Enum):
    NONE = auto()
    PLAYHEAD = auto()
    IN = auto()
    OUT = auto()
    SCROLL = auto()
    REFERENCE = auto()


class Timeline(QWidget):
    """Draws the project over time; a drag scrubs, or moves the in or out point, or a reference.

    Signals: `scale_changed` after zoom, scroll or resize; `remove_asked(Reference)`; `menu_asked(Reference or
    None, QPoint)` on the references' row.
    """

    scale_changed = Signal()
    remove_asked = Signal(object)
    menu_asked = Signal(object, QPoint)

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("timeline")
        self.setMouseTracking(True)
        self.setAccessibleName("Timeline")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.MinimumExpanding)
        self.workspace = workspace
        self.scale = TimeScale()
        self.references = ReferenceTrack(workspace)
        self._drop: int | None = None
        self._thumbnails: dict[int, QImage] = {}
        self._drag = _Drag.NONE
        self._drag_from = QPointF()
        self._dragging: History | None = None
        self._bindings = Bindings()
        self._track_bindings = Bindings()
        self._ask = QTimer(self)
        self._ask.setSingleShot(True)
        self._ask.setInterval(120)
        self._ask.timeout.connect(self._request_thumbnails)
        Session.frame.changed(workspace.session).connect(self._frame_changed)
        Session.region.changed(workspace.session).connect(lambda _: self.update())
        Session.reference.changed(workspace.session).connect(lambda _: self.update())
        workspace.documents.replaced.connect(self.set_project)
        workspace.documents.source_ready.connect(self._source_ready)
        self.set_project(workspace.project)

    def set_project(self, project: Project) -> None:
        self.end_drag()
        self._thumbnails.clear()
        self._bindings.clear()
        self._bindings.add(Project.clip.changed(project).connect(lambda _: self._clip_changed()))
        for prop in (Project.in_point, Project.out_point):
            self._bindings.add(prop.changed(project).connect(lambda _: self.update()))
        self._bindings.add(project.takes.changed.connect(self.update))
        self._bindings.add(Project.take_in_use.changed(project).connect(lambda _: self.update()))
        self._bindings.add(project.regions.changed.connect(self._bind_tracks))
        self._bindings.add(project.references.changed.connect(self._bind_tracks))
        self._clip_changed()
        self._bind_tracks()

    @property
    def project(self) -> Project:
        return self.workspace.project

    # -- zoom ------------------------------------------------------------------------------------------------

    def zoom(self, factor: float, about: float | None = None) -> None:
        """Zooms about a pixel, or about the playhead."""
        at = self.scale.x(self.workspace.session.frame + 0.5) if about is None else about
        self._set_scale(self.scale.zoomed(factor, at))

    def fit(self) -> None:
        self._set_scale(self.scale.fitted())

    def _set_scale(self, scale: TimeScale) -> None:
        self.scale = scale
        self.update()
        self._ask.start()
        self.scale_changed.emit()

    def _clip_changed(self) -> None:
        clip = self.project.clip
        self.scale = replace(self.scale, frames=1 if clip is None else clip.frame_count).fitted()
        self.update()
        self.scale_changed.emit()

    # -- thumbnails ------------------------------------------------------------------------------------------

    def _source_ready(self, _: object) -> None:
        source = self.workspace.documents.source
        if source is not None:
            source.thumbnail.connect(self._thumbnail_arrived)
            self._ask.start()

    def _request_thumbnails(self) -> None:
        wanted = [index for index, _ in self.strip() if index not in self._thumbnails]
        if wanted:
            self.workspace.screen.request_thumbnails(wanted)

    def _thumbnail_arrived(self, index: int, image: NDArray[Any]) -> None:
        self._thumbnails[index] = picture(image)
        self.update()

    def strip(self) -> list[tuple[int, QRectF]]:
        """The filmstrip's cells: which frame each shows, and where."""
        clip = self.project.clip
        if clip is None:
            return []
        width = max(24.0, painting.VIDEO * clip.width / clip.height)
        step = max(1, round(width / self.scale.pixels))
        first = int(self.scale.first) // step * step
        cells = []
        for frame in range(first, clip.frame_count, step):
            x = self.scale.x(frame)
            if x > self.scale.left + self.scale.width:
                break
            stop = min(self.scale.x(min(frame + step, clip.frame_count)), self.scale.left + self.scale.width)
            cells.append((frame, QRectF(x, painting.RULER, stop - x, painting.VIDEO)))
        return cells

    # -- painting --------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painting.draw_ground(painter, self.size(), self.scale)
        clip = self.project.clip
        if clip is None:
            painting.draw_empty(painter, self.size())
            return
        project, session = self.project, self.workspace.session
        painting.draw_ruler(painter, self.size(), self.scale, project.in_point, project.out_point)
        painting.draw_strip(painter, self.scale, self.strip(), self._thumbnails)
        for index, region in enumerate(reversed(list(project.regions))):
            row = self.row(index)
            painting.draw_track(painter, self.scale, row, region, selected=region is session.region)
        if len(project.references):
            row = self.references_row
            boxes = self.references.boxes(self.scale, row)
            painting.draw_references(painter, self.scale, row, boxes, session.reference)
        take = project.take(project.take_in_use)
        if take is not None:
            painting.draw_take(painter, self.scale, take)
        painting.draw_outside(painter, self.size(), self.scale, project.in_point, project.out_point)
        painting.draw_playhead(painter, self.size(), self.scale, session.frame)
        if self._drop is not None:
            painting.draw_drop(painter, self.size(), self.scale, self._drop)

    def row(self, index: int) -> QRectF:
        """Where the track with that place from the top lies, gutter and all."""
        top = painting.TRACKS + index * painting.TRACK
        return QRectF(0, top, self.width(), painting.TRACK)

    @property
    def references_row(self) -> QRectF:
        """Where the references lie, below the regions."""
        top = painting.TRACKS + len(self.project.regions) * painting.TRACK
        return QRectF(0, top, self.width(), self.references.height)

    def show_drop(self, at: QPointF | None) -> int | None:
        """Marks the frame that a picture would be dropped on, and returns it; None ends that."""
        over = at is not None and self.project.clip is not None and at.x() >= painting.GUTTER
        self._drop = self.scale.frame(at.x()) if at is not None and over else None
        self.update()
        return self._drop

    def sizeHint(self) -> QSize:
        rows = max(1, len(self.project.regions))
        return QSize(600, int(painting.TRACKS + rows * painting.TRACK + self.references.height + 8))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    # -- mouse -----------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if self.project.clip is None:
            return
        self.end_drag()  # another button may still be down
        at = event.position()
        self._drag_from = at
        if event.button() == Qt.MouseButton.MiddleButton:
            self._drag = _Drag.SCROLL
        elif event.button() == Qt.MouseButton.LeftButton:
            reference = self.references.at(at, self.scale, self.references_row)
            if reference is not None:
                self.setFocus(Qt.FocusReason.MouseFocusReason)
                self.references.press(reference)
                self._drag = _Drag.REFERENCE
                return
            self.clearFocus()
            region = self._region_at(at)
            if region is not None:
                self.workspace.session.region = region
            self._drag = self._grabbed(at) if at.x() >= painting.GUTTER else _Drag.NONE
            if self._drag in (_Drag.IN, _Drag.OUT):
                self._dragging = self.project.changes
                self._dragging.begin("Set in and out")
            self._move(at)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        at = event.position()
        if self._drag is _Drag.NONE:
            over = self.project.clip is not None and self._grabbed(at) in (_Drag.IN, _Drag.OUT)
            self.setCursor(Qt.CursorShape.SizeHorCursor if over else Qt.CursorShape.ArrowCursor)
            region, reference = self._region_at(at), self.references.at(at, self.scale, self.references_row)
            if reference is not None:
                self.setCursor(Qt.CursorShape.PointingHandCursor)
                self.setToolTip(painting.reference_words(reference))
            else:
                self.setToolTip("" if region is None else painting.track_words(region))
        else:
            self._move(at)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self.end_drag()

    def end_drag(self) -> None:
        """Ends what the mouse is doing; an in or out point, or a reference, stays where it was dragged to."""
        self._drag = _Drag.NONE
        self.references.release()
        history, self._dragging = self._dragging, None
        if history is not None:
            history.commit()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        at = QPointF(event.pos())
        if self.references_row.contains(at):
            self.end_drag()
            reference = self.references.at(at, self.scale, self.references_row)
            if reference is not None:
                self.workspace.session.reference = reference
            self.menu_asked.emit(reference, event.globalPos())

    def event(self, event: QEvent) -> bool:
        # Delete is a shortcut of the window's too: after a click on a reference it is about that.
        override = event.type() == QEvent.Type.ShortcutOverride
        if override and isinstance(event, QKeyEvent) and self._key_of(event) is not None:
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        reference = self._key_of(event)
        if event.key() == Qt.Key.Key_Escape and self.references.cancel():
            self._drag = _Drag.NONE
        elif reference is not None:
            self.end_drag()
            self.remove_asked.emit(reference)
        else:
            super().keyPressEvent(event)

    def _key_of(self, event: QKeyEvent) -> Reference | None:
        """The reference that a Delete is about; the timeline has the cursor only after a click on one."""
        delete = Qt.Key(event.key()) in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace)
        return self.workspace.session.reference if delete and self.hasFocus() else None

    def wheelEvent(self, event: QWheelEvent) -> None:
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoom(1.25 ** (event.angleDelta().y() / 120), event.position().x())
        else:
            delta = event.angleDelta().x() or event.angleDelta().y()
            self._set_scale(self.scale.scrolled(-delta / 2 / self.scale.pixels))
        event.accept()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._set_scale(self.scale.resized(painting.GUTTER, self.width() - painting.GUTTER - painting.RIGHT))

    def _move(self, at: QPointF) -> None:
        frame = self.scale.frame(at.x())
        match self._drag:
            case _Drag.PLAYHEAD:
                self.workspace.playback.stop()
                self.workspace.go_to(frame)
            case _Drag.IN:
                boundary = self.scale.frame(at.x() + self.scale.pixels / 2)
                commands.set_range(
                    self.project, min(boundary, self.project.out_point - 1), self.project.out_point
                )
            case _Drag.OUT:
                boundary = self.scale.frame(at.x() - self.scale.pixels / 2) + 1
                commands.set_range(
                    self.project, self.project.in_point, max(boundary, self.project.in_point + 1)
                )
            case _Drag.REFERENCE:
                self.references.drag(frame)
            case _Drag.SCROLL:
                self._set_scale(self.scale.scrolled((self._drag_from.x() - at.x()) / self.scale.pixels))
                self._drag_from = at

    def _grabbed(self, at: QPointF) -> _Drag:
        if at.y() < painting.RULER:
            for frame, drag in ((self.project.in_point, _Drag.IN), (self.project.out_point, _Drag.OUT)):
                if abs(at.x() - self.scale.x(frame)) <= _GRAB:
                    return drag
        return _Drag.PLAYHEAD

    def _region_at(self, at: QPointF) -> Region | None:
        regions = list(reversed(list(self.project.regions)))
        return next((r for i, r in enumerate(regions) if self.row(i).contains(at)), None)

    # -- model -----------------------------------------------------------------------------------------------

    def _bind_tracks(self) -> None:
        self._track_bindings.clear()
        changed: Callable[[object], None] = lambda _: self.update()  # noqa: E731
        for region in self.project.regions:
            self._track_bindings.add(region.masks.changed.connect(self._mask_changed))
            for prop in (Region.name, Region.color, Region.letter):
                self._track_bindings.add(prop.changed(region).connect(changed))
            self._track_bindings.add(Region.visible.changed(region).connect(changed))
        for reference in self.project.references:
            self._track_bindings.add(Reference.frame.changed(reference).connect(changed))
            self._track_bindings.add(Reference.region.changed(reference).connect(changed))
            self._track_bindings.add(Reference.picture.changed(reference).connect(changed))
        self.updateGeometry()
        self.update()

    def _mask_changed(self, _: int, rect: Rect | None) -> None:
        if rect is None:  # pixels inside a key do not show here
            self.update()

    def _frame_changed(self, frame: int) -> None:
        scale = self.scale.showing(frame)
        if scale != self.scale:
            self._set_scale(scale)
        self.update()
