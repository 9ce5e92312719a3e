"""The region list: colour and letter, name, prompt; the topmost region first, the background last."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFocusEvent, QMouseEvent, QPainter, QPaintEvent, QPixmap
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from mattebox_desktop.model import commands
from mattebox_desktop.model.bindings import Bindings
from mattebox_desktop.model.observed import bind
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.region import OKABE_ITO, Region
from mattebox_desktop.model.session import Session
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui.edge_fields import EdgeFields
from mattebox_desktop.ui.icons import show_icon
from mattebox_desktop.ui.parts import PANEL_MARGIN, heading, quiet, restyle, tool_button
from mattebox_desktop.ui.timeline_painting import draw_swatch

_HUES = ("Orange", "Sky blue", "Green", "Yellow", "Blue", "Vermilion", "Purple")


class RegionsPanel(QWidget):
    """Every region with what can be said about it without a dialog."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("panel", True)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.workspace = workspace
        self.rows: list[RegionRow] = []
        self._bindings = Bindings()
        self.add_button = tool_button("plus", "Add region (Ctrl+Shift+N)", self)
        self.add_button.clicked.connect(self.add)
        top = QHBoxLayout()
        top.addWidget(heading("REGIONS", self))
        top.addStretch()
        top.addWidget(self.add_button)
        self._list = QVBoxLayout()
        self._list.setSpacing(4)
        self._hint = quiet(
            "Paint or click what should change: choose the brush (B) and paint in the viewer.", self
        )
        content = QWidget(self)
        content.setProperty("panel", True)
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(self._list)
        column.addWidget(self._hint)
        column.addWidget(_BackgroundRow(content))
        column.addStretch()
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(PANEL_MARGIN, 8, PANEL_MARGIN, PANEL_MARGIN)
        layout.setSpacing(8)
        layout.addLayout(top)
        layout.addWidget(scroll)
        Session.region.changed(workspace.session).connect(lambda _: self._show_selection())
        workspace.documents.replaced.connect(self.set_project)
        self.set_project(workspace.project)

    def set_project(self, project: Project) -> None:
        self._bindings.clear()
        self._bindings.add(project.regions.changed.connect(self._rebuild))
        self._bindings.add(Project.clip.changed(project).connect(lambda _: self._rebuild()))
        self._rebuild()

    def add(self) -> None:
        """Adds a region and puts the cursor into its prompt."""
        project, session = self.workspace.project, self.workspace.session

        def make() -> None:
            session.region = commands.add_region(project)

        if self.workspace.guarded(make):
            self.rows[0].prompt.setFocus()

    def _rebuild(self) -> None:
        project = self.workspace.project
        kept = {row.region.id: row for row in self.rows if row.region in list(project.regions)}
        for row in self.rows:
            self._list.removeWidget(row)
            if row.region.id not in kept:
                row.release()
        self.rows = [
            kept.get(region.id) or RegionRow(self.workspace, region, self)
            for region in reversed(list(project.regions))
        ]
        for row in self.rows:
            self._list.addWidget(row)
            row.show()
        self._hint.setVisible(not self.rows)
        self.add_button.setEnabled(project.clip is not None)
        self._show_selection()

    def _show_selection(self) -> None:
        for row in self.rows:
            row.show_chosen(row.region is self.workspace.session.region)


class RegionRow(QWidget):
    """One region: swatch, name, prompt, show, delete; and its edge while it is the chosen one."""

    def __init__(self, workspace: Workspace, region: Region, parent: QWidget) -> None:
        super().__init__(parent)
        self.setProperty("row", True)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.workspace, self.region = workspace, region
        self._bindings = Bindings()
        self.swatch = _Swatch(region, self)
        self.swatch.clicked.connect(self._choose_color)
        self.name = _Field("Name", self)
        self.name.edited.connect(self._rename)
        self.prompt = _Field("What should be there, as in “a red star”", self)
        self.prompt.edited.connect(self._set_prompt)
        self.eye = tool_button("eye", "Show or hide this region", self)
        self.eye.clicked.connect(self._toggle)
        self.delete = tool_button("trash", "Delete this region", self)
        self.delete.clicked.connect(self._delete)
        self.edge = EdgeFields(workspace, region, self)
        for field in (self.name, self.prompt):
            field.focused.connect(self._select)
        layout = QGridLayout(self)
        layout.setContentsMargins(8, 4, 4, 6)
        layout.setHorizontalSpacing(4)
        layout.setVerticalSpacing(0)
        layout.setColumnStretch(1, 1)
        layout.addWidget(self.swatch, 0, 0)
        layout.addWidget(self.name, 0, 1)
        layout.addWidget(self.eye, 0, 2)
        layout.addWidget(self.delete, 0, 3)
        layout.addWidget(self.prompt, 1, 1, 1, 3)
        layout.addWidget(self.edge, 2, 1, 1, 3)
        self._bindings.add(bind(Region.name.changed(region), self.name.show_text, region.name))
        self._bindings.add(bind(Region.prompt.changed(region), self.prompt.show_text, region.prompt))
        self._bindings.add(bind(Region.visible.changed(region), self._show_visible, region.visible))
        self._bindings.add(Region.color.changed(region).connect(lambda _: self.swatch.update()))

    def release(self) -> None:
        """Ends the row's life once its region has gone."""
        self._bindings.clear()
        self.edge.release()
        self.hide()
        self.deleteLater()

    def show_chosen(self, chosen: bool) -> None:
        restyle(self, "selected", chosen)
        self.edge.setVisible(chosen)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._select()

    def _select(self) -> None:
        self.workspace.session.region = self.region

    def _rename(self, text: str) -> None:
        if text.strip():
            commands.rename_region(self.workspace.project, self.region, text)

    def _set_prompt(self, text: str) -> None:
        commands.set_region_prompt(self.workspace.project, self.region, text)

    def _toggle(self) -> None:
        commands.set_region_visible(self.workspace.project, self.region, not self.region.visible)

    def _delete(self) -> None:
        commands.remove_region(self.workspace.project, self.region)

    def _show_visible(self, visible: bool) -> None:
        show_icon(self.eye, "eye" if visible else "eye-slash")

    def _choose_color(self) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for name, color in zip(_HUES, OKABE_ITO, strict=True):
            pixmap = QPixmap(14, 14)
            pixmap.fill(QColor(color))
            action = menu.addAction(pixmap, name)
            action.triggered.connect(
                lambda _=False, color=color: commands.set_region_color(
                    self.workspace.project, self.region, color
                )
            )
        menu.popup(self.swatch.mapToGlobal(self.swatch.rect().bottomLeft()))


class _Field(QLineEdit):
    """A line that looks like text until it is touched; it keeps the cursor while the model answers."""

    focused = Signal()
    edited = Signal(str)

    def __init__(self, hint: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setPlaceholderText(hint)
        self.setAccessibleName(hint)
        self.setProperty("flat", True)
        self.textEdited.connect(self.edited)
        self.returnPressed.connect(self.clearFocus)

    def show_text(self, text: str) -> None:
        if text != self.text():
            self.setText(text)
            self.setCursorPosition(0)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.focused.emit()


class _Swatch(QToolButton):
    """The region's colour and letter; a click offers other colours."""

    def __init__(self, region: Region, parent: QWidget) -> None:
        super().__init__(parent)
        self._region = region
        self.setFixedSize(QSize(24, 24))
        self.setToolTip("Choose another colour")
        self.setAccessibleName("Colour")

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        draw_swatch(painter, QRectF(2, 2, 20, 20), self._region)


class _BackgroundRow(QWidget):
    """Says what happens to everything else."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        mark = QLabel(self)
        show_icon(mark, "lock-simple")
        mark.setFixedSize(24, 24)
        mark.setAlignment(Qt.AlignmentFlag.AlignCenter)
        names = QVBoxLayout()
        names.setSpacing(0)
        names.addWidget(QLabel("Background", self))
        names.addWidget(quiet("kept exact", self))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 4, 0, 4)
        layout.setSpacing(8)
        layout.addWidget(mark, alignment=Qt.AlignmentFlag.AlignTop)
        layout.addLayout(names)
