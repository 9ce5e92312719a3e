"""Where the picture lies in the viewer: zoom and pan between view pixels and frame pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PySide6.QtCore import QPointF, QRectF, QSizeF

MIN_ZOOM, MAX_ZOOM = 0.02, 64.0
_MARGIN = 12.0


@dataclass(frozen=True, slots=True)
class ViewTransform:
    """view = origin + zoom × frame; zoom in view pixels per frame pixel."""

    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0

    def to_frame(self, point: QPointF) -> tuple[float, float]:
        return (point.x() - self.x) / self.zoom, (point.y() - self.y) / self.zoom

    def to_view(self, x: float, y: float) -> QPointF:
        return QPointF(self.x + self.zoom * x, self.y + self.zoom * y)

    def view_rect(self, left: float, top: float, right: float, bottom: float) -> QRectF:
        return QRectF(self.to_view(left, top), self.to_view(right, bottom))

    def zoomed(self, factor: float, about: QPointF) -> ViewTransform:
        """Scaled by `factor` such that the frame pixel under `about` stays there."""
        zoom = min(MAX_ZOOM, max(MIN_ZOOM, self.zoom * factor))
        x, y = self.to_frame(about)
        return ViewTransform(zoom, about.x() - zoom * x, about.y() - zoom * y)

    def panned(self, dx: float, dy: float) -> ViewTransform:
        return replace(self, x=self.x + dx, y=self.y + dy)

    @staticmethod
    def fitted(frame: QSizeF, view: QSizeF) -> ViewTransform:
        """The whole frame in the middle of the view, as large as it goes up to 8×."""
        zoom = min(
            (view.width() - 2 * _MARGIN) / frame.width(), (view.height() - 2 * _MARGIN) / frame.height(), 8.0
        )
        zoom = max(zoom, MIN_ZOOM)
        return ViewTransform(
            zoom,
            round((view.width() - zoom * frame.width()) / 2),
            round((view.height() - zoom * frame.height()) / 2),
        )
