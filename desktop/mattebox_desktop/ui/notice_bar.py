"""The bar above the viewer: what happened, why, one button that does the remedy, and a report to copy."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from mattebox_desktop.service.notice import Notice, Severity
from mattebox_desktop.ui import palette
from mattebox_desktop.ui.icons import icon
from mattebox_desktop.ui.parts import quiet, restyle, tool_button

_ICONS = {Severity.ERROR: "warning-circle", Severity.WARNING: "warning", Severity.INFO: "info"}


class NoticeBar(QFrame):
    """Shows the newest notice; it goes when it is closed, remedied or settled."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.notice: Notice | None = None
        self._mark = QLabel(self)
        self.what = QLabel(self)
        self.what.setStyleSheet("font-weight: 600;")
        self.why = quiet("", self)
        self.why.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.remedy = QPushButton(self)
        self.remedy.clicked.connect(self._act)
        self.copy = QPushButton("Copy report", self)
        self.copy.setProperty("link", True)
        self.copy.clicked.connect(self._copy)
        self.dismiss = tool_button("x", "Dismiss", self)
        self.dismiss.clicked.connect(self.clear)
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(self.what)
        words.addWidget(self.why)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 8, 8, 8)
        layout.setSpacing(12)
        layout.addWidget(self._mark)
        layout.addLayout(words, 1)
        layout.addWidget(self.copy)
        layout.addWidget(self.remedy)
        layout.addWidget(self.dismiss)
        self.hide()

    def show_notice(self, notice: Notice) -> None:
        self.notice = notice
        colors = palette.current
        color = {
            Severity.ERROR: colors.danger,
            Severity.WARNING: colors.warning,
            Severity.INFO: colors.accent,
        }[notice.severity]
        self._mark.setPixmap(icon(_ICONS[notice.severity], color).pixmap(QSize(20, 20)))
        self.what.setText(notice.what)
        self.why.setText(notice.why)
        self.remedy.setVisible(notice.remedy is not None)
        if notice.remedy is not None:
            self.remedy.setText(notice.remedy.words)
        self.copy.setText("Copy report")
        self.copy.setVisible(bool(notice.report) and notice.severity is Severity.ERROR)
        restyle(self, "notice", notice.severity.value)
        self.setAccessibleName(f"{notice.what}. {notice.why}")
        self.show()

    def settle(self, topic: str) -> None:
        """Takes the notice of that topic away: what it said no longer holds."""
        if self.notice is not None and self.notice.topic == topic:
            self.clear()

    def clear(self) -> None:
        self.notice = None
        self.hide()

    def _act(self) -> None:
        notice = self.notice
        self.clear()
        if notice is not None and notice.remedy is not None:
            notice.remedy.act()

    def _copy(self) -> None:
        if self.notice is not None:
            QGuiApplication.clipboard().setText(self.notice.report)
            self.copy.setText("Copied")
