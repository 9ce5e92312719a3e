"""The viewer: the frame, the masks over it, and the pen. It repaints only what a stroke touched."""

from __future__ import annotations

import math
from collections.abc import Callable

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, QSizeF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QEnterEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QWidget

from mattebox_desktop.model.bindings import Bindings
from mattebox_desktop.model.brush import Brush
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.rect import Rect
from mattebox_desktop.model.reference import Picture, Reference
from mattebox_desktop.model.region import Region
from mattebox_desktop.model.session import Compare, Session, Tool
from mattebox_desktop.ui import viewer_painting as painting
from mattebox_desktop.ui.geometry import ViewTransform
from mattebox_desktop.ui.overlay import Tinted
from mattebox_desktop.ui.pictures import picture
from mattebox_desktop.ui.tools import Gesture, Pointer, drag, gesture_of

_PAINTING = (Tool.BRUSH, Tool.ERASE)
_WIPE_REACH = 8.0


class Viewer(QWidget):
    """Shows a frame with its masks; the tools of `ui.tools` act in it.

    Signals: `view_changed` after zoom or pan.
    """

    view_changed = Signal()

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("viewer")
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMinimumSize(240, 160)
        self.setAccessibleName("Viewer")
        self.session = session
        self.project: Project | None = None
        self.view = ViewTransform()
        self._fitted = True
        self._source: QImage | None = None
        self._take: QImage | None = None
        self._take_name = ""
        self._frame_size = QSizeF()
        self._scaled = painting.ScaledPictures()
        self._gesture: Gesture | None = None
        self._band: QRectF | None = None
        self._pen: QPointF | None = None
        self._space = False
        self._bindings = Bindings()
        self._mask_bindings = Bindings()
        self._reference_bindings = Bindings()
        self._reference_image: tuple[Picture, QImage] | None = None
        for prop in (
            Session.frame,
            Session.masks_shown,
            Session.compare,
            Session.wipe,
            Session.region,
            Session.reference,
            Session.references_shown,
        ):
            prop.changed(session).connect(lambda _: self.update())
        Session.tool.changed(session).connect(lambda _: self._update_cursor())
        Session.brush.changed(session).connect(self._brush_changed)

    # -- what is shown ---------------------------------------------------------------------------------------

    def set_project(self, project: Project) -> None:
        """Shows the masks of another project."""
        self.cancel_gesture()
        self.project = project
        self._source = self._take = None
        self._frame_size = QSizeF()
        self._fitted = True
        self._bindings.clear()
        self._bindings.add(project.regions.changed.connect(self._bind_masks))
        self._bindings.add(project.references.changed.connect(self._bind_references))
        self._bind_masks()
        self._bind_references()

    def set_frame(self, source: QImage | None, take: QImage | None, take_name: str = "") -> None:
        """Shows a frame of the clip and, where there is one, of the take in use."""
        self._source, self._take, self._take_name = source, take, take_name
        size = QSizeF() if source is None else QSizeF(source.size())
        if size != self._frame_size:
            self._frame_size = size
            if self._fitted:
                self.fit()
        self.update()

    def _bind_masks(self) -> None:
        self._mask_bindings.clear()
        for region in () if self.project is None else self.project.regions:
            self._mask_bindings.add(region.masks.changed.connect(self._mask_changed))
            for prop in (Region.color, Region.visible):
                self._mask_bindings.add(prop.changed(region).connect(lambda _: self.update()))
        self.update()

    def _bind_references(self) -> None:
        self._reference_bindings.clear()
        changed: Callable[[object], None] = lambda _: self.update()  # noqa: E731
        for reference in () if self.project is None else self.project.references:
            for prop in (Reference.frame, Reference.region, Reference.picture):
                self._reference_bindings.add(prop.changed(reference).connect(changed))
        self.update()

    @property
    def reference(self) -> Reference | None:
        """The one that stands for the frame: the chosen one, else the chosen region's, else the topmost."""
        if self.project is None or not self.session.references_shown:
            return None
        found = self.project.references_at(self.session.frame)
        wanted = (
            next((r for r in found if r is self.session.reference), None),
            next((r for r in found if r.region is self.session.region), None),
            *found,
        )
        return next((reference for reference in wanted if reference is not None), None)

    def _image_of(self, reference: Reference | None) -> QImage | None:
        """Made once for each picture: a stroke must not convert it again."""
        if reference is None:
            self._reference_image = None
        elif self._reference_image is None or self._reference_image[0] is not reference.picture:
            self._reference_image = reference.picture, picture(reference.picture.pixels)
        return None if self._reference_image is None else self._reference_image[1]

    def _mask_changed(self, frame: int, rect: Rect | None) -> None:
        if rect is None:
            self.update()
            return
        corners = self.view.view_rect(rect.left, rect.top, rect.right, rect.bottom)
        self.update(corners.toAlignedRect().adjusted(-2, -2, 2, 2))

    # -- zoom and pan ----------------------------------------------------------------------------------------

    def fit(self) -> None:
        """The whole frame, in the middle."""
        self._fitted = True
        if not self._frame_size.isEmpty():
            self._set_view(ViewTransform.fitted(self._frame_size, QSizeF(self.size())))

    def zoom(self, factor: float, about: QPointF | None = None) -> None:
        """Zooms about a point of the view, or about its middle."""
        self._fitted = False
        self._set_view(self.view.zoomed(factor, QPointF(self.rect().center()) if about is None else about))

    def actual_size(self) -> None:
        """One frame pixel per view pixel."""
        self.zoom(1 / self.view.zoom)

    def pan(self, dx: float, dy: float) -> None:
        self._fitted = False
        self._set_view(self.view.panned(dx, dy))

    def _set_view(self, view: ViewTransform) -> None:
        self.view = view
        self.update()
        self.view_changed.emit()

    @property
    def frame_rect(self) -> QRectF:
        """Where the frame lies in the view."""
        return self.view.view_rect(0, 0, self._frame_size.width(), self._frame_size.height())

    # -- painting --------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        dirty = event.rect()
        painting.draw_surround(painter, dirty)
        if self._source is None:
            return
        reference = self.reference
        scene = painting.Scene(
            source=self._source,
            take=self._take,
            take_name=self._take_name,
            reference=self._image_of(reference),
            reference_name="" if reference is None else f"Reference {reference.region.letter}",
            compare=self.session.compare,
            wipe_x=self._wipe_x(),
            view=self.view,
            frame_rect=self.frame_rect,
        )
        painting.draw_frame(painter, dirty, scene, self._scaled)
        if self.session.masks_shown:
            painting.draw_masks(painter, dirty, self._tints(), self.view, self.frame_rect)
        painting.draw_wipe(painter, scene)
        if self._band is not None:
            painting.draw_band(painter, self.view, self._band)
        if self._pen is not None and self.session.tool in _PAINTING and not self._space:
            painting.draw_brush(painter, self._pen, self.session.brush, self.view.zoom)

    def _tints(self) -> list[Tinted]:
        tints = []
        for region in () if self.project is None else self.project.regions:
            mask = region.masks.mask_at(self.session.frame) if region.visible else None
            if mask is not None:
                color = QColor(region.color)
                chosen = self.session.region in (None, region)
                tints.append(Tinted(mask, (color.red(), color.green(), color.blue()), chosen))
        return tints

    # -- pen -------------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if self.project is None or self._source is None or self._gesture is not None:
            return
        press = self._pointer(event)
        if event.button() == Qt.MouseButton.MiddleButton or self._space:
            self._start(drag(self._panner(press), press))
        elif event.button() == Qt.MouseButton.LeftButton:
            if self._over_wipe(press.view):
                self._start(drag(self._wipe_to, press))
            else:
                self._start(gesture_of(self.session.tool, self.project, self.session, press))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        pointer = self._pointer(event)
        self._move_pen(pointer.view)
        if self._gesture is not None:
            self._send(pointer)
        else:
            self._update_cursor()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._gesture is not None and not event.buttons():
            self._send(self._pointer(event, released=True))

    def wheelEvent(self, event: QWheelEvent) -> None:
        steps = event.angleDelta().y() / 120
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoom(1.25**steps, event.position())
        else:
            pixels = event.pixelDelta()
            delta = QPointF(pixels) if not pixels.isNull() else QPointF(event.angleDelta()) / 2
            if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                delta = delta.transposed()
            self.pan(delta.x(), delta.y())
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self._space = True
            self._update_cursor()
        elif event.key() == Qt.Key.Key_Escape and self._gesture is not None:
            self.cancel_gesture()
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self._space = False
            self._update_cursor()
        else:
            super().keyReleaseEvent(event)

    def enterEvent(self, event: QEnterEvent) -> None:
        self._update_cursor()

    def leaveEvent(self, event: QEvent) -> None:
        self._move_pen(None)

    def resizeEvent(self, event: QResizeEvent) -> None:
        if self._fitted:
            self.fit()

    def cancel_gesture(self) -> None:
        """Takes back what the pen is doing."""
        gesture, self._gesture = self._gesture, None
        self._band = None
        if gesture is not None:
            gesture.close()
        self.update()

    @property
    def busy(self) -> bool:
        """The pen is down."""
        return self._gesture is not None

    def _start(self, gesture: Gesture) -> None:
        self._gesture = gesture
        self._advance(lambda: next(gesture))

    def _send(self, pointer: Pointer) -> None:
        gesture = self._gesture
        if gesture is not None:
            self._advance(lambda: gesture.send(pointer))

    def _advance(self, step: painting.Step) -> None:
        try:
            band = step()
        except StopIteration:
            self._gesture, band = None, None
        except BaseException:
            self._gesture = None
            raise
        if band != self._band:
            self._band = band
            self.update()

    def _pointer(self, event: QMouseEvent, *, released: bool = False) -> Pointer:
        x, y = self.view.to_frame(event.position())
        alt = bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
        return Pointer(x, y, event.position(), erase=alt, released=released)

    def _panner(self, press: Pointer) -> painting.Moved:
        start = self.view
        self._fitted = False

        def moved(to: QPointF) -> None:
            self._set_view(start.panned(to.x() - press.view.x(), to.y() - press.view.y()))

        return moved

    # -- wipe ------------------------------------------------------------------------------------------------

    def _wipe_x(self) -> float:
        frame = self.frame_rect
        return frame.left() + self.session.wipe * frame.width()

    def _over_wipe(self, at: QPointF) -> bool:
        compared = self._take is not None or self.reference is not None
        wiping = compared and self.session.compare is Compare.WIPE
        return wiping and math.fabs(at.x() - self._wipe_x()) <= _WIPE_REACH

    def _wipe_to(self, at: QPointF) -> None:
        frame = self.frame_rect
        self.session.wipe = min(1.0, max(0.0, (at.x() - frame.left()) / max(1.0, frame.width())))

    # -- cursor ----------------------------------------------------------------------------------------------

    def _update_cursor(self) -> None:
        if self._source is None:
            shape = Qt.CursorShape.ArrowCursor
        elif self._space:
            shape = Qt.CursorShape.OpenHandCursor
        elif self._pen is not None and self._over_wipe(self._pen):
            shape = Qt.CursorShape.SplitHCursor
        elif self.session.tool in _PAINTING:
            shape = Qt.CursorShape.BlankCursor
        elif self.session.tool is Tool.BOX:
            shape = Qt.CursorShape.CrossCursor
        else:
            shape = Qt.CursorShape.ArrowCursor
        if self.cursor().shape() != shape:
            self.setCursor(shape)
            self.update(self._brush_rect(self._pen))

    def _move_pen(self, to: QPointF | None) -> None:
        before, self._pen = self._pen, to
        if self.session.tool in _PAINTING:
            self.update(self._brush_rect(before))
            self.update(self._brush_rect(to))

    def _brush_rect(self, at: QPointF | None) -> QRect:
        if at is None:
            return QRect()
        reach = math.ceil(self.session.brush.size * self.view.zoom / 2) + 3
        return QRect(at.toPoint() - QPoint(reach, reach), at.toPoint() + QPoint(reach, reach))

    def _brush_changed(self, _: Brush) -> None:
        self.update()
