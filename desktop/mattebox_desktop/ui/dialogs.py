"""The few dialogs: only where a choice is needed now."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mattebox_media import plain_name
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from mattebox_desktop.model.errors import ProjectFileError
from mattebox_desktop.model.project import Project, Take
from mattebox_desktop.model.project_file import clip_of_project
from mattebox_desktop.service.export import EXPORT_FORMATS, ExportFormat
from mattebox_desktop.ui.number_field import whole_number
from mattebox_desktop.ui.parts import quiet


class ExportDialog(QDialog):
    """What to write, how, and where to."""

    def __init__(self, project: Project, take: Take | None, folder: Path, name: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self.setMinimumWidth(480)
        self._project = project
        self.what = QComboBox(self)
        self.what.addItem("Source", None)
        for other in project.takes:
            self.what.addItem(f"{other.name} over the source", other.id)
        self.what.setCurrentIndex(max(0, self.what.findData(None if take is None else take.id)))
        self.format = QComboBox(self)
        for index, choice in enumerate(EXPORT_FORMATS):
            self.format.addItem(choice.words, index)
        self.range = QComboBox(self)
        self.range.addItem(f"In to out (frames {project.in_point} to {project.out_point - 1})", "range")
        self.range.addItem("The whole clip", "clip")
        self.path = QLineEdit(str(folder / f"{name}{EXPORT_FORMATS[0].suffix}"), self)
        browse = QPushButton("Browse…", self)
        browse.clicked.connect(self._browse)
        where = QHBoxLayout()
        where.setSpacing(8)
        where.addWidget(self.path, 1)
        where.addWidget(browse)
        form = QFormLayout()
        form.setSpacing(8)
        form.setHorizontalSpacing(12)
        form.addRow("What", self.what)
        form.addRow("Range", self.range)
        form.addRow("Format", self.format)
        form.addRow("To", where)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, parent=self)
        export = buttons.addButton("Export", QDialogButtonBox.ButtonRole.AcceptRole)
        export.setProperty("primary", True)
        export.setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 20, 20, 16)
        layout.setSpacing(16)
        layout.addLayout(form)
        layout.addWidget(quiet("The source's sound comes along where the format has room for it.", self))
        layout.addWidget(buttons)
        self.format.currentIndexChanged.connect(self._format_changed)

    @property
    def target(self) -> Path:
        return Path(self.path.text()).expanduser()

    @property
    def chosen_format(self) -> ExportFormat:
        return EXPORT_FORMATS[self.format.currentIndex()]

    @property
    def chosen_take(self) -> Take | None:
        return self._project.take(self.what.currentData())

    @property
    def frames(self) -> tuple[int, int]:
        """The frames [start, stop) to write."""
        clip = self._project.clip
        if self.range.currentData() == "clip" and clip is not None:
            return 0, clip.frame_count
        return self._project.in_point, self._project.out_point

    def _format_changed(self) -> None:
        name = self.path.text()
        for suffix in sorted({choice.suffix for choice in EXPORT_FORMATS}, key=len, reverse=True):
            if name.endswith(suffix):
                name = name.removesuffix(suffix)
                break
        self.path.setText(name + self.chosen_format.suffix)

    def _browse(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Export to", self.path.text())
        if name:
            self.path.setText(name)


class HoldDialog(QDialog):
    """Over which frames the mask shown now should be held."""

    def __init__(self, project: Project, frame: int, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Hold mask over frames")
        last = 0 if project.clip is None else project.clip.frame_count - 1
        self.first, self.last = whole_number(0, last, parent=self), whole_number(0, last, parent=self)
        self.first.setValue(frame)
        self.last.setValue(project.out_point - 1)
        form = QFormLayout()
        form.setSpacing(8)
        form.addRow("From frame", self.first)
        form.addRow("To frame", self.last)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, parent=self)
        hold = buttons.addButton("Hold", QDialogButtonBox.ButtonRole.AcceptRole)
        hold.setProperty("primary", True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 20, 20, 16)
        layout.setSpacing(16)
        layout.addWidget(
            quiet(f"The mask of frame {frame} is shown over these frames; others keep theirs.", self)
        )
        layout.addLayout(form)
        layout.addWidget(buttons)


class CommandPalette(QDialog):
    """Every action by its words: type, choose, Enter."""

    def __init__(self, actions: list[QAction], parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Commands")
        self.setMinimumSize(440, 360)
        self.words = QLineEdit(self)
        self.words.setPlaceholderText("What do you want to do?")
        self.list = QListWidget(self)
        self._actions = [action for action in actions if action.isEnabled()]
        self.words.textChanged.connect(self._filter)
        self.words.returnPressed.connect(self.accept)
        self.list.itemActivated.connect(lambda _: self.accept())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.addWidget(self.words)
        layout.addWidget(self.list)
        self._filter("")

    @property
    def chosen(self) -> QAction | None:
        item = self.list.currentItem()
        return None if item is None else self._actions[int(item.data(Qt.ItemDataRole.UserRole))]

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
        elif self.list.count():
            self.list.setCurrentRow((self.list.currentRow() + step) % self.list.count())

    def _filter(self, text: str) -> None:
        self.list.clear()
        wanted = text.lower().split()
        for index, action in enumerate(self._actions):
            words = action.text()
            if all(part in words.lower() for part in wanted):
                key = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
                item = QListWidgetItem(f"{words}    {key}" if key else words, self.list)
                item.setData(Qt.ItemDataRole.UserRole, index)
        self.list.setCurrentRow(0)


class ShortcutsDialog(QDialog):
    """Every shortcut, as it is."""

    def __init__(self, actions: list[QAction], parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        self.setMinimumSize(420, 480)
        content = QWidget(self)
        form = QFormLayout(content)
        form.setSpacing(6)
        form.setHorizontalSpacing(24)
        rows = [
            (
                ", ".join(key.toString(QKeySequence.SequenceFormat.NativeText) for key in action.shortcuts()),
                action.text(),
            )
            for action in actions
            if action.shortcuts()
        ]
        rows += [
            ("1 to 9", "Choose a region"),
            ("Space, middle button", "Pan"),
            ("Ctrl+wheel", "Zoom at the cursor"),
            ("Alt", "Erase with the brush or the box"),
            ("Esc", "Take back the stroke under the pen"),
        ]
        for keys, words in rows:
            form.addRow(quiet(keys, content), QLabel(words, content))
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setWidget(content)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, parent=self)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(scroll)
        layout.addWidget(buttons)


def ask_to_stop(what: list[str], parent: QWidget) -> bool:
    """What is under way is about to be cut off: whether the user wants that."""
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Still at work")
    box.setText(f"Closing stops {' and '.join(what)}.")
    box.setInformativeText("Nothing half-written is left behind.")
    stop = box.addButton("Stop and close", QMessageBox.ButtonRole.DestructiveRole)
    box.setDefaultButton(box.addButton("Keep open", QMessageBox.ButtonRole.RejectRole))
    box.exec()
    return box.clickedButton() is stop


def ask_what_to_recover(left: list[Path], parent: QWidget) -> Path | None:
    """One of the projects that crashed desktops left; None when the user wants none of them."""
    words = [f"{number}. {_kept_work(path)}" for number, path in enumerate(left, 1)]
    chosen, accepted = QInputDialog.getItem(
        parent, "Recover unsaved work", "Unsaved projects, the newest first:", words, 0, False
    )
    return left[words.index(chosen)] if accepted else None


def _kept_work(path: Path) -> str:
    time = datetime.fromtimestamp(path.stat().st_mtime, UTC).astimezone()
    try:
        clip = clip_of_project(path)
        what = "no clip" if clip is None else plain_name(clip)
    except ProjectFileError:
        what = "damaged"
    return f"{what}, kept on {time:%Y-%m-%d at %H:%M:%S}"


def ask_to_save(name: str, parent: QWidget) -> QMessageBox.StandardButton:
    """Save, Discard or Cancel: unsaved changes are about to be left."""
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Unsaved changes")
    box.setText(f"Save the changes to “{name}”?")
    box.setInformativeText("They are lost if you do not save them.")
    box.setStandardButtons(
        QMessageBox.StandardButton.Save
        | QMessageBox.StandardButton.Discard
        | QMessageBox.StandardButton.Cancel
    )
    box.button(QMessageBox.StandardButton.Discard).setText("Don't save")
    box.setDefaultButton(QMessageBox.StandardButton.Save)
    return QMessageBox.StandardButton(box.exec())
