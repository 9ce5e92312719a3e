"""The status dot in the menu bar: where the backend stands, in words; a click offers to start it again."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication, QPainter, QPaintEvent
from PySide6.QtWidgets import QMenu, QSizePolicy, QToolButton, QWidget

from mattebox_desktop.service.job_view import BackendStatus, ConnectionState, JobState, JobView
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui import palette
from mattebox_desktop.ui.timecode import duration

_WIDTH = 340


class StatusDot(QToolButton):
    """Backend state, or the progress of a running render."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.workspace = workspace
        self._status = workspace.backend.status
        self._job: JobView | None = None
        self.words = ""
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        self.restart = menu.addAction("Start the backend again", workspace.backend.restart)
        menu.addAction("Copy report", self._copy)
        self.setMenu(menu)
        workspace.backend.changed.connect(self.show_status)
        workspace.renders.job_changed.connect(self._show_job)
        self.show_status(self._status)

    def show_status(self, status: BackendStatus) -> None:
        self._status = status
        self.restart.setEnabled(status.state in (ConnectionState.FAILED, ConnectionState.IDLE))
        self.setToolTip(status.why or "The backend renders what you ask for, on this machine.")
        self._say()

    def sizeHint(self) -> QSize:
        return QSize(_WIDTH, 28)  # a menu bar asks once: wide enough for every state

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = self.rect().adjusted(24, 0, -12, 0)
        shown = self.fontMetrics().elidedText(self.words, Qt.TextElideMode.ElideRight, area.width())
        left = area.right() - self.fontMetrics().horizontalAdvance(shown)
        painter.setPen(QColor(palette.current.quiet))
        painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, shown)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self.color))
        painter.drawEllipse(QPointF(left - 12, self.height() / 2 + 0.5), 4, 4)

    @property
    def color(self) -> str:
        colors = palette.current
        if self._job is not None:
            return colors.accent
        return {
            ConnectionState.READY: colors.good,
            ConnectionState.STARTING: colors.warning,
            ConnectionState.GONE: colors.warning,
            ConnectionState.FAILED: colors.danger,
        }.get(self._status.state, colors.quiet)

    def _show_job(self, job: JobView) -> None:
        self._job = None if job.state.ended else job
        self._say()

    def _say(self) -> None:
        job = self._job
        if job is not None and job.state is JobState.RUNNING:
            eta = "" if job.eta is None else f" · {duration(job.eta)} left"
            self.words = f"{job.stage or 'Rendering'} · {job.fraction:.0%}{eta}"
        elif job is not None:
            self.words = "waiting to render"
        else:
            self.words = self._status.words
        self.setAccessibleName(self.words)
        self.update()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.workspace.report(self._status.words))
