"""How the viewer draws each thing, on a painter whose clip is what has to be repainted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QImage, QPainter, QPen

from mattebox_desktop.model.brush import Brush
from mattebox_desktop.model.session import Compare
from mattebox_desktop.ui import palette
from mattebox_desktop.ui.geometry import ViewTransform
from mattebox_desktop.ui.overlay import Tinted, overlay

Step = Callable[[], QRectF | None]
Moved = Callable[[QPointF], None]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is shown of the clip, the take in use and the frame's reference, each where there is one. wipe_x:
    view pixels.
    """

    source: QImage
    take: QImage | None
    take_name: str
    reference: QImage | None
    reference_name: str
    compare: Compare
    wipe_x: float
    view: ViewTransform
    frame_rect: QRectF

    @property
    def after(self) -> tuple[QImage, str] | None:
        """What is compared, and its name: the reference, else the take."""
        if self.reference is not None:
            return self.reference, self.reference_name
        return None if self.take is None else (self.take, self.take_name or "Take")

    @property
    def before(self) -> tuple[QImage, str]:
        """What it is compared with: a reference with what is in use, a take with the source."""
        if self.reference is not None and self.take is not None:
            return self.take, self.take_name or "Take"
        return self.source, "Source"

    @property
    def front(self) -> QImage:
        """What is shown where nothing is wiped."""
        after = self.after
        return self.source if after is None or self.compare is Compare.SOURCE else after[0]

    @property
    def wiping(self) -> bool:
        return self.compare is Compare.WIPE and self.after is not None


class ScaledPictures:
    """The last pictures scaled down to the view, so that a brush move copies pixels instead of scaling 4K."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, int], QImage] = {}

    def get(self, image: QImage, size: QSize) -> QImage:
        key = (image.cacheKey(), size.width(), size.height())
        scaled = self._kept.get(key)
        if scaled is None:
            scaled = image.scaled(
                size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
            ).convertToFormat(
                QImage.Format.Format_ARGB32_Premultiplied
                if image.hasAlphaChannel()
                else QImage.Format.Format_RGB32
            )
            while len(self._kept) >= 2:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = scaled
        return scaled


def draw_surround(painter: QPainter, dirty: QRect) -> None:
    painter.fillRect(dirty, QColor(palette.current.surround))


def draw_frame(painter: QPainter, dirty: QRect, scene: Scene, scaled: ScaledPictures) -> None:
    """The clip, the take, the reference, or one on each side of the wipe."""
    compared = scene.after
    if not scene.wiping or compared is None:
        _draw_picture(painter, dirty, scene.front, scene, scaled)
        return
    before = QRect(dirty.topLeft(), dirty.bottomRight())
    before.setRight(min(dirty.right(), int(scene.wipe_x) - 1))
    after = QRect(dirty)
    after.setLeft(max(dirty.left(), int(scene.wipe_x)))
    for part, image in ((before, scene.before[0]), (after, compared[0])):
        if part.isValid():
            painter.save()
            painter.setClipRect(part)
            _draw_picture(painter, part, image, scene, scaled)
            painter.restore()


def _draw_picture(
    painter: QPainter, dirty: QRect, image: QImage, scene: Scene, scaled: ScaledPictures
) -> None:
    frame = scene.frame_rect
    if image.hasAlphaChannel():
        _draw_checkers(painter, frame.intersected(QRectF(dirty)))
    if scene.view.zoom >= 1:
        # Enlarged, pixels show as they are; only those in need of repainting are drawn.
        x0, y0 = scene.view.to_frame(QPointF(dirty.topLeft()))
        x1, y1 = scene.view.to_frame(QPointF(dirty.bottomRight() + dirty.topLeft() * 0))
        part = QRect(int(x0) - 1, int(y0) - 1, int(x1 - x0) + 4, int(y1 - y0) + 4).intersected(image.rect())
        target = scene.view.view_rect(part.left(), part.top(), part.right() + 1, part.bottom() + 1)
        painter.drawImage(target, image, QRectF(part))
        return
    ratio = painter.device().devicePixelRatio()
    size = QSize(max(1, round(frame.width() * ratio)), max(1, round(frame.height() * ratio)))
    shown = scaled.get(image, size)
    if ratio == 1:
        painter.drawImage(frame.topLeft().toPoint(), shown)
    else:
        painter.drawImage(frame, shown)


def _draw_checkers(painter: QPainter, area: QRectF) -> None:
    painter.fillRect(area, QColor("#999999"))
    painter.fillRect(area, Qt.BrushStyle.Dense4Pattern)


def draw_masks(
    painter: QPainter, dirty: QRect, tints: Sequence[Tinted], view: ViewTransform, frame: QRectF
) -> None:
    area = dirty.intersected(frame.toAlignedRect().adjusted(-2, -2, 2, 2))
    image = overlay(tints, view, area, painter.device().devicePixelRatio())
    if image is not None:
        painter.drawImage(area.topLeft(), image)


def draw_wipe(painter: QPainter, scene: Scene) -> None:
    """The handle, and what lies on its two sides; a reference is named without it too."""
    compared = scene.after
    if not scene.wiping or compared is None:
        if scene.reference is not None and scene.compare is not Compare.SOURCE:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            _draw_tag(painter, scene.frame_rect, scene.reference_name, left=False)
        return
    frame, x = scene.frame_rect, scene.wipe_x
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    for color, width in (("#000000", 3.5), ("#ffffff", 1.5)):
        pen = QPen(QColor(color))
        pen.setWidthF(width)
        painter.setPen(pen)
        painter.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom()))
    middle = QPointF(x, frame.center().y())
    painter.setPen(QPen(QColor("#000000"), 1))
    painter.setBrush(QColor("#ffffff"))
    painter.drawEllipse(middle, 10, 10)
    painter.setPen(QPen(QColor("#1c1d20"), 1.5))
    for side in (-1, 1):
        tip = middle + QPointF(side * 6, 0)
        painter.drawPolyline([tip + QPointF(-side * 3, -3), tip, tip + QPointF(-side * 3, 3)])
    _draw_tag(painter, frame, scene.before[1], left=True)
    _draw_tag(painter, frame, compared[1], left=False)


def _draw_tag(painter: QPainter, frame: QRectF, text: str, *, left: bool) -> None:
    metrics = QFontMetricsF(painter.font())
    width, height = metrics.horizontalAdvance(text) + 16, metrics.height() + 6
    x = frame.left() + 8 if left else frame.right() - width - 8
    box = QRectF(x, frame.top() + 8, width, height)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(0, 0, 0, 170))
    painter.drawRoundedRect(box, 4, 4)
    painter.setPen(QColor("#ffffff"))
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)


def draw_band(painter: QPainter, view: ViewTransform, band: QRectF) -> None:
    """The rubber band of a box being dragged."""
    box = view.view_rect(band.left(), band.top(), band.right(), band.bottom())
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor("#000000"), 1))
    painter.drawRect(box)
    painter.setPen(QPen(QColor("#ffffff"), 1, Qt.PenStyle.DashLine))
    painter.drawRect(box)


def draw_brush(painter: QPainter, at: QPointF, brush: Brush, zoom: float) -> None:
    """Two rings: the brush's size, and inside it where its hard core ends."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    radius = max(1.5, brush.size * zoom / 2)
    for color, width in ((QColor(0, 0, 0, 160), 3.0), (QColor("#ffffff"), 1.2)):
        painter.setPen(QPen(color, width))
        painter.drawEllipse(at, radius, radius)
    if brush.hardness < 1 and radius > 6:
        painter.setPen(QPen(QColor(255, 255, 255, 130), 1, Qt.PenStyle.DotLine))
        core = radius * brush.hardness
        painter.drawEllipse(at, core, core)
