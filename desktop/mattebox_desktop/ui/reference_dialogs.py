"""What has to be asked about references: how a picture is to fit, for which region, in which program."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from mattebox_desktop.model.project import Project
from mattebox_desktop.model.region import Region
from mattebox_desktop.service.frames import shrunk
from mattebox_desktop.service.pixels import Fit
from mattebox_desktop.service.reference_reading import Unfit
from mattebox_desktop.ui.parts import quiet
from mattebox_desktop.ui.pictures import picture

_PREVIEW = QSize(200, 150)
_WAYS = {
    Fit.COVER: ("Fill and crop", "Scaled until it covers the frame; what sticks out is cut off."),
    Fit.CONTAIN: ("Fit inside", "Scaled until all of it is in the frame; the frame stays around it."),
}


class FitDialog(QDialog):
    """A picture has another size than the clip: a click on one of two previews says how it fits."""

    def __init__(self, unfit: Unfit, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Fit the picture")
        self.chosen: Fit | None = None
        self.ways: dict[Fit, QToolButton] = {}
        title = QLabel(f"“{unfit.name}” has another size than the clip", self)
        title.setProperty("title", True)
        title.setWordWrap(True)
        row = QHBoxLayout()
        row.setSpacing(12)
        for fit, (words, meaning) in _WAYS.items():
            row.addLayout(self._way(fit, words, meaning, unfit))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, parent=self)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 20, 20, 16)
        layout.setSpacing(16)
        layout.addWidget(title)
        layout.addWidget(
            quiet(f"It is {_size(unfit.size)} pixels, the clip is {_size(unfit.clip_size)}.", self)
        )
        layout.addLayout(row)
        layout.addWidget(buttons)
        self.ways[Fit.COVER].setFocus()

    def _way(self, fit: Fit, words: str, meaning: str, unfit: Unfit) -> QVBoxLayout:
        button = QToolButton(self)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        shown = QPixmap.fromImage(picture(shrunk(unfit.choices[fit].pixels, 2 * _PREVIEW.height())))
        button.setIcon(
            shown.scaled(
                _PREVIEW, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
            )
        )
        button.setIconSize(_PREVIEW)
        button.setText(words)
        button.setToolTip(meaning)
        button.setAccessibleName(words)
        button.setProperty("choice", True)
        button.setMinimumWidth(_PREVIEW.width() + 24)
        button.clicked.connect(lambda: self._choose(fit))
        self.ways[fit] = button
        about = quiet(meaning, self)
        about.setFixedWidth(_PREVIEW.width() + 24)
        column = QVBoxLayout()
        column.setSpacing(8)
        column.addWidget(button)
        column.addWidget(about)
        return column

    def _choose(self, fit: Fit) -> None:
        self.chosen = fit
        self.accept()


class EditorDialog(QDialog):
    """Which program opens a frame to be edited; an empty line is the system's own choice."""

    def __init__(self, program: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Image editor")
        self.setMinimumWidth(480)
        self.program = QLineEdit(program, self)
        self.program.setPlaceholderText("What the system opens PNG pictures with")
        self.program.setClearButtonEnabled(True)
        browse = QPushButton("Browse…", self)
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.program, 1)
        row.addWidget(browse)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, parent=self)
        use = buttons.addButton("Use", QDialogButtonBox.ButtonRole.AcceptRole)
        use.setProperty("primary", True)
        use.setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 20, 20, 16)
        layout.setSpacing(16)
        layout.addWidget(
            quiet("The program that references are edited in. It gets a PNG; save it there as PNG.", self)
        )
        layout.addLayout(row)
        layout.addWidget(buttons)

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Choose the image editor", self.program.text())
        if name:
            self.program.setText(name)


def ask_which_region(project: Project, parent: QWidget) -> Region | None:
    """Which region a reference is for; None when the user wants none."""
    regions = list(reversed(list(project.regions)))
    words = [f"{region.letter}  {region.name}" for region in regions]
    chosen, accepted = QInputDialog.getItem(
        parent, "Region of the reference", "Which region does the picture show?", words, 0, False
    )
    return regions[words.index(chosen)] if accepted else None


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
