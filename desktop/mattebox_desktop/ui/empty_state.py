"""What stands where the picture will be: it teaches the first step."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from mattebox_desktop.ui.icons import icon
from mattebox_desktop.ui.parts import quiet


class EmptyState(QWidget):
    """Signals: `open_asked`, `sample_asked`."""

    open_asked = Signal()
    sample_asked = Signal()

    def __init__(self, *, with_sample: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setProperty("panel", True)
        mark = QLabel(self)
        mark.setPixmap(icon("film-strip").pixmap(48, 48))
        title = QLabel("Drop a clip here" + (", or try the sample" if with_sample else ""), self)
        title.setProperty("title", True)
        steps = quiet(
            "Then paint what should change, say what should be there, and render. "
            "Everything outside the paint stays as it is.",
            self,
        )
        steps.setAlignment(Qt.AlignmentFlag.AlignCenter)
        steps.setFixedSize(400, 36)
        self.open_button = QPushButton("Open clip…", self)
        self.open_button.setProperty("primary", True)
        self.open_button.setToolTip("Open a clip or a project (Ctrl+O)")
        self.open_button.clicked.connect(self.open_asked)
        self.sample_button = QPushButton("Try the sample", self)
        self.sample_button.clicked.connect(self.sample_asked)
        self.sample_button.setVisible(with_sample)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addStretch()
        buttons.addWidget(self.open_button)
        buttons.addWidget(self.sample_button)
        buttons.addStretch()
        layout = QVBoxLayout(self)
        layout.setSpacing(12)
        layout.addStretch()
        layout.addWidget(mark, alignment=Qt.AlignmentFlag.AlignHCenter)
        layout.addWidget(title, alignment=Qt.AlignmentFlag.AlignHCenter)
        layout.addWidget(steps, alignment=Qt.AlignmentFlag.AlignHCenter)
        layout.addLayout(buttons)
        layout.addStretch()
