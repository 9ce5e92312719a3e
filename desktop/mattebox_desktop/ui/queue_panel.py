"""The queue: one row per job with its stage, bar, time left, preview, curves and a way to cancel."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from mattebox_desktop.service.job_view import JobState, JobView
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui.parts import PANEL_MARGIN, quiet, tool_button
from mattebox_desktop.ui.pictures import picture
from mattebox_desktop.ui.sparkline import Sparklines
from mattebox_desktop.ui.timecode import duration

_PREVIEW = QSize(72, 54)
_ENDED = {JobState.DONE: "Done", JobState.FAILED: "Failed", JobState.CANCELLED: "Cancelled"}


class QueuePanel(QWidget):
    """Shows what the renders and the export are doing; the newest on top."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("panel", True)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.workspace = workspace
        self.rows: dict[str, JobRow] = {}
        self._hint = quiet("Nothing is rendering. Ctrl+Enter renders between in and out.", self)
        self.clear_button = QPushButton("Clear ended", self)
        self.clear_button.setProperty("link", True)
        self.clear_button.clicked.connect(self.clear_ended)
        self.clear_button.hide()
        content = QWidget(self)
        content.setProperty("panel", True)
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        self._list = QVBoxLayout()
        self._list.setSpacing(8)
        column.addWidget(self._hint)
        column.addLayout(self._list)
        column.addWidget(self.clear_button, alignment=Qt.AlignmentFlag.AlignLeft)
        column.addStretch()
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(PANEL_MARGIN, PANEL_MARGIN, PANEL_MARGIN, PANEL_MARGIN)
        layout.addWidget(scroll)
        workspace.renders.job_changed.connect(self.show_job)
        workspace.exports.changed.connect(self.show_job)

    def show_job(self, job: JobView) -> None:
        row = self.rows.get(job.key)
        if row is None:
            row = self.rows[job.key] = JobRow(self.workspace, job.key, self)
            self._list.insertWidget(0, row)
        row.show_job(job)
        self._tidy()

    def clear_ended(self) -> None:
        for key, row in list(self.rows.items()):
            if row.ended:
                del self.rows[key]
                self._list.removeWidget(row)
                row.hide()
                row.deleteLater()
        self.workspace.renders.forget_ended()
        self._tidy()

    def _tidy(self) -> None:
        self._hint.setVisible(not self.rows)
        self.clear_button.setVisible(any(row.ended for row in self.rows.values()))


class JobRow(QFrame):
    """One job."""

    def __init__(self, workspace: Workspace, key: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.ended = False
        self.preview = QLabel(self)
        self.preview.setFixedSize(_PREVIEW)
        self.preview.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.preview.hide()
        self.title = QLabel(self)
        self.stage = quiet("", self)
        self.bar = QProgressBar(self)
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.curves = Sparklines(self)
        self.cancel = tool_button("x", "Cancel", self)
        self.cancel.clicked.connect(lambda: workspace.cancel(key))
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addWidget(self.title)
        words.addWidget(self.stage)
        words.addWidget(self.bar)
        words.addWidget(self.curves)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 8, 4, 8)
        layout.setSpacing(8)
        layout.addWidget(self.preview, alignment=Qt.AlignmentFlag.AlignTop)
        layout.addLayout(words, 1)
        layout.addWidget(self.cancel, alignment=Qt.AlignmentFlag.AlignTop)

    def show_job(self, job: JobView) -> None:
        self.ended = job.state.ended
        self.title.setText(job.title)
        self.stage.setText(job_words(job))
        self.bar.setVisible(not job.state.ended)
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(1000 * job.fraction))
        self.cancel.setVisible(not job.state.ended)
        self.curves.show_curves(job.curves)
        if job.preview is not None:
            shown = QPixmap.fromImage(picture(job.preview)).scaled(
                _PREVIEW, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
            )
            self.preview.setPixmap(shown)
            self.preview.show()


def job_words(job: JobView) -> str:
    """Where a job stands, in words."""
    match job.state:
        case JobState.SENDING:
            return "Sending to the backend…"
        case JobState.QUEUED:
            return "Waiting for its turn"
        case JobState.RUNNING:
            steps = f" {job.step} of {job.of}" if job.of else ""
            eta = "" if job.eta is None else f" · {duration(job.eta)} left"
            return f"{job.stage or 'Starting'}{steps}{eta}"
        case _:
            return f"{_ENDED[job.state]}: {job.error}" if job.error else _ENDED[job.state]
