"""How the timeline draws each of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, QSizeF, Qt
from PySide6.QtGui import QColor, QFont, QImage, QPainter, QPen, QPolygonF

from mattebox_desktop.model.project import Take
from mattebox_desktop.model.reference import Reference
from mattebox_desktop.model.region import Region
from mattebox_desktop.ui import palette
from mattebox_desktop.ui.thumbnails import thumbnail
from mattebox_desktop.ui.time_scale import TimeScale

GUTTER, RIGHT = 168.0, 12.0
RULER, VIDEO, TRACK = 24.0, 48.0, 28.0
TRACKS = RULER + VIDEO + 4
_HELD_ALPHA = 90
_WIDEST_CROP = 1.8


def draw_ground(painter: QPainter, size: QSize, scale: TimeScale) -> None:
    colors = palette.current
    painter.fillRect(0, 0, size.width(), size.height(), QColor(colors.panel))
    painter.fillRect(QRectF(scale.left, RULER, scale.width, size.height()), QColor(colors.ground))


def draw_empty(painter: QPainter, size: QSize) -> None:
    painter.setPen(QColor(palette.current.quiet))
    area = QRectF(0, 0, size.width(), size.height())
    painter.drawText(area, Qt.AlignmentFlag.AlignCenter, "The clip's frames and its regions show here")


def draw_ruler(painter: QPainter, size: QSize, scale: TimeScale, start: int, stop: int) -> None:
    """Frame numbers, and the span between in and out with its two handles."""
    colors = palette.current
    painter.save()
    painter.setClipRect(QRectF(scale.left - 8, 0, scale.width + 16, RULER))
    step = scale.label_step
    painter.setFont(_small(painter.font()))
    frame = int(scale.first) // step * step
    while frame < scale.frames and scale.x(frame) < scale.left + scale.width:
        x = scale.x(frame)
        painter.setPen(QColor(colors.line))
        painter.drawLine(QPointF(x, RULER - 8), QPointF(x, RULER))
        painter.setPen(QColor(colors.quiet))
        painter.drawText(QPointF(x + 4, RULER - 9), str(frame))
        frame += step
    left, right = scale.x(start), scale.x(stop)
    accent = QColor(colors.accent)
    painter.fillRect(QRectF(left, RULER - 4, right - left, 4), accent)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(accent)
    for x, side in ((left, 1), (right, -1)):
        painter.drawPolygon(
            QPolygonF([QPointF(x, RULER - 14), QPointF(x + side * 7, RULER - 4), QPointF(x, RULER - 4)])
        )
    painter.restore()
    _gutter(painter, QRectF(0, RULER, GUTTER, VIDEO), "Video", colors.quiet)


def draw_strip(
    painter: QPainter,
    scale: TimeScale,
    cells: Sequence[tuple[int, QRectF]],
    thumbnails: Mapping[int, QImage],
) -> None:
    colors = palette.current
    painter.save()
    painter.setClipRect(QRectF(scale.left, RULER, scale.width, VIDEO))
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    for frame, cell in cells:
        image = thumbnails.get(frame)
        if image is None:
            painter.fillRect(cell.adjusted(0, 0, -1, 0), QColor(colors.raised))
            continue
        width = VIDEO * image.width() / image.height()
        painter.fillRect(cell, QColor(colors.raised))
        if cell.width() > _WIDEST_CROP * width:
            painter.drawImage(QRectF(cell.x(), cell.y(), width, VIDEO), image)
            continue
        # Filled from edge to edge: a wider cell crops the picture's height, a narrower one its width.
        scale_ = max(cell.width() / image.width(), VIDEO / image.height())
        shown = QSizeF(cell.width() / scale_, VIDEO / scale_)
        corner = QPointF((image.width() - shown.width()) / 2, (image.height() - shown.height()) / 2)
        painter.drawImage(cell, image, QRectF(corner, shown))
        painter.fillRect(QRectF(cell.right() - 1, cell.y(), 1, VIDEO), QColor(0, 0, 0, 120))
    painter.restore()


def draw_track(painter: QPainter, scale: TimeScale, row: QRectF, region: Region, *, selected: bool) -> None:
    """One region: solid where it is painted, light where a mask is held, a diamond on each key."""
    colors = palette.current
    color = QColor(region.color)
    if selected:
        painter.fillRect(row, QColor(colors.raised))
    painter.fillRect(QRectF(0, row.bottom() - 1, row.width(), 1), QColor(colors.line))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    draw_swatch(painter, QRectF(12, row.center().y() - 8, 16, 16), region)
    _gutter(painter, row.adjusted(28, 0, 0, 0), region.name, colors.text if region.visible else colors.quiet)
    painter.save()
    painter.setClipRect(QRectF(scale.left, row.y(), scale.width, row.height()))
    held = QColor(color)
    held.setAlpha(_HELD_ALPHA if region.visible else _HELD_ALPHA // 2)
    bar = row.adjusted(0, 6, 0, -7)
    for span in region.masks.spans():
        x, painted, end = scale.x(span.start), scale.x(span.start + 1), scale.x(span.stop)
        if span.filled:
            painter.fillRect(QRectF(x, bar.y(), end - x, bar.height()), held)
            solid = QColor(color)
            solid.setAlpha(255 if region.visible else _HELD_ALPHA)
            painter.fillRect(QRectF(x, bar.y(), max(3.0, painted - x), bar.height()), solid)
        _diamond(painter, QPointF(min((x + painted) / 2, x + 8), bar.center().y()), filled=span.filled)
    painter.restore()


def draw_references(
    painter: QPainter,
    scale: TimeScale,
    row: QRectF,
    boxes: Sequence[tuple[Reference, QRectF]],
    chosen: Reference | None,
) -> None:
    """Each one's picture at its frame, with the letter and the colour of its region."""
    colors = palette.current
    painter.fillRect(QRectF(0, row.bottom() - 1, row.width(), 1), QColor(colors.line))
    _gutter(painter, row, "References", colors.quiet)
    painter.save()
    painter.setClipRect(QRectF(scale.left, row.y(), scale.width, row.height()))
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    for reference, box in boxes:
        painter.setOpacity(1.0 if reference.region.visible else 0.4)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.drawImage(box, thumbnail(reference.picture))
        if reference is chosen:
            painter.setPen(QPen(QColor(colors.accent), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(box.adjusted(1, 1, -1, -1))
        draw_swatch(painter, QRectF(box.right() + 4, box.center().y() - 16, 14, 14), reference.region)
        painter.setPen(QColor(colors.quiet))
        painter.setFont(_small(painter.font()))
        below = QRectF(box.right() + 4, box.center().y(), 48, 16)
        painter.drawText(
            below, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, str(reference.frame)
        )
    painter.restore()


def draw_drop(painter: QPainter, size: QSize, scale: TimeScale, frame: int) -> None:
    """Where a picture would be dropped."""
    x = scale.x(frame)
    band = QColor(palette.current.accent)
    painter.fillRect(QRectF(x - 1, RULER, 2, size.height()), band)
    band.setAlpha(80)
    painter.fillRect(QRectF(x, RULER, scale.pixels, size.height()), band)


def draw_take(painter: QPainter, scale: TimeScale, take: Take) -> None:
    """Which part of the clip the take in use covers: a line under the filmstrip."""
    x, end = scale.x(take.start), scale.x(take.stop)
    left, right = max(x, scale.left), min(end, scale.left + scale.width)
    if right > left:
        painter.fillRect(QRectF(left, RULER + VIDEO - 3, right - left, 3), QColor(palette.current.good))


def draw_outside(painter: QPainter, size: QSize, scale: TimeScale, start: int, stop: int) -> None:
    """Dims what lies outside in and out."""
    shade = QColor(palette.current.ground)
    shade.setAlpha(170)
    right = scale.left + scale.width
    before, after = min(max(scale.x(start), scale.left), right), max(min(scale.x(stop), right), scale.left)
    painter.fillRect(QRectF(scale.left, RULER, before - scale.left, size.height()), shade)
    painter.fillRect(QRectF(after, RULER, right - after, size.height()), shade)


def draw_playhead(painter: QPainter, size: QSize, scale: TimeScale, frame: int) -> None:
    """A frame wide when there is room, with a line at the frame's start."""
    x = scale.x(frame)
    if not scale.left - 1 <= x <= scale.left + scale.width + 1:
        return
    colors = palette.current
    band = QColor(colors.text)
    band.setAlpha(28)
    if scale.pixels >= 4:
        painter.fillRect(QRectF(x, RULER, scale.pixels, size.height()), band)
    painter.fillRect(QRectF(x - 0.5, 6, 1.5, size.height()), QColor(colors.text))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colors.text))
    painter.drawPolygon(
        QPolygonF(
            [QPointF(x - 5, 2), QPointF(x + 5, 2), QPointF(x + 5, 8), QPointF(x, 13), QPointF(x - 5, 8)]
        )
    )


def draw_swatch(painter: QPainter, box: QRectF, region: Region) -> None:
    """The region's colour with its letter, black or white, whichever reads better."""
    color = QColor(region.color)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    painter.drawRoundedRect(box, 3, 3)
    font = _small(painter.font())
    font.setBold(True)
    painter.setFont(font)
    painter.setPen(QColor("#000000" if letter_is_dark(color) else "#ffffff"))
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, region.letter)
    painter.restore()


def letter_is_dark(color: QColor) -> bool:
    """Whether black reads better than white on that colour (WCAG relative luminance)."""

    def linear(value: float) -> float:
        return float(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)

    luminance = (
        0.2126 * linear(color.redF()) + 0.7152 * linear(color.greenF()) + 0.0722 * linear(color.blueF())
    )
    return luminance > 0.179


def track_words(region: Region) -> str:
    """A track in words, for its tooltip."""
    spans = [span for span in region.masks.spans() if span.filled]
    if not spans:
        return f"{region.name}: nothing is painted yet. Paint in the viewer with the brush (B)."
    parts = [
        f"painted at {span.start}" + (f", held to {span.stop - 1}" if span.stop - 1 > span.start else "")
        for span in spans[:6]
    ]
    return f"{region.name}: " + "; ".join(parts) + ("…" if len(spans) > 6 else "")


def reference_words(reference: Reference) -> str:
    """A reference in words, for its tooltip."""
    return f"{reference.words}. Click goes there, drag moves it to another frame, Delete removes it."


def _diamond(painter: QPainter, at: QPointF, *, filled: bool) -> None:
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QColor("#000000"))
    painter.setBrush(QColor("#ffffff") if filled else Qt.BrushStyle.NoBrush)
    if not filled:
        painter.setPen(QColor(palette.current.quiet))
    painter.drawPolygon(
        QPolygonF([at + QPointF(0, -4.5), at + QPointF(4.5, 0), at + QPointF(0, 4.5), at + QPointF(-4.5, 0)])
    )
    painter.restore()


def _gutter(painter: QPainter, row: QRectF, text: str, color: str) -> None:
    painter.setPen(QColor(color))
    area = row.adjusted(12 if row.x() == 0 else 8, 0, 0, 0)
    area.setRight(GUTTER - 8)
    shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, int(area.width()))
    painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, shown)


def _small(font: QFont) -> QFont:
    small = QFont(font)
    small.setPixelSize(11)
    return small
