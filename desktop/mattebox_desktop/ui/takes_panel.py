"""The takes: what was rendered so far, which one stands for the clip, and how to compare."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPixmap
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from shiboken6 import isValid

from mattebox_desktop.model import commands
from mattebox_desktop.model.bindings import Bindings
from mattebox_desktop.model.curve import curves_of
from mattebox_desktop.model.project import Project, Take
from mattebox_desktop.model.session import Compare, Session
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui.parts import PANEL_MARGIN, quiet, restyle, tool_button
from mattebox_desktop.ui.pictures import picture
from mattebox_desktop.ui.sparkline import Sparklines
from mattebox_desktop.ui.timecode import duration

_THUMBNAIL = QSize(80, 60)
_COMPARE = ((Compare.OFF, "Take"), (Compare.WIPE, "Wipe"), (Compare.SOURCE, "Source"))


class TakesPanel(QWidget):
    """Signal `export_asked(Take)`."""

    export_asked = Signal(object)

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("panel", True)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.workspace = workspace
        self.cards: list[TakeCard] = []
        self._bindings = Bindings()
        self._hint = quiet("Render to see it here. A take never changes the clip itself.", self)
        self._modes = QButtonGroup(self)
        self._compare = QWidget(self)
        row = QHBoxLayout(self._compare)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        for mode, words in _COMPARE:
            button = QPushButton(words, self)
            button.setCheckable(True)
            button.setToolTip(_compare_words(mode))
            button.clicked.connect(lambda _=False, mode=mode: self._choose(mode))
            self._modes.addButton(button, mode.value)
            row.addWidget(button)
        row.addStretch()
        content = QWidget(self)
        content.setProperty("panel", True)
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        self._list = QVBoxLayout()
        self._list.setSpacing(8)
        column.addWidget(self._hint)
        column.addLayout(self._list)
        column.addStretch()
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(PANEL_MARGIN, PANEL_MARGIN, PANEL_MARGIN, PANEL_MARGIN)
        layout.setSpacing(12)
        layout.addWidget(self._compare)
        layout.addWidget(scroll)
        Session.compare.changed(workspace.session).connect(lambda _: self._show_state())
        workspace.documents.replaced.connect(self.set_project)
        self.set_project(workspace.project)

    def set_project(self, project: Project) -> None:
        self._bindings.clear()
        self._bindings.add(project.takes.changed.connect(self._rebuild))
        self._bindings.add(Project.take_in_use.changed(project).connect(lambda _: self._show_state()))
        self._rebuild()

    def _rebuild(self) -> None:
        project = self.workspace.project
        kept = {id(card.take): card for card in self.cards}
        takes = list(reversed(list(project.takes)))
        for card in self.cards:
            self._list.removeWidget(card)
            if not any(card.take is take for take in takes):
                card.hide()
                card.deleteLater()
        self.cards = [kept.get(id(take)) or self._card(take) for take in takes]
        for card in self.cards:
            self._list.addWidget(card)
            card.show()
        self._show_state()

    def _card(self, take: Take) -> TakeCard:
        card = TakeCard(self.workspace, take, self)
        card.export.clicked.connect(lambda: self.export_asked.emit(take))
        return card

    def _show_state(self) -> None:
        used = self.workspace.project.take_in_use
        for card in self.cards:
            restyle(card, "selected", card.take.id == used)
        self._hint.setVisible(not self.cards)
        self._compare.setVisible(bool(self.cards))
        self._compare.setEnabled(used is not None)
        self._modes.button(self.workspace.session.compare.value).setChecked(True)

    def _choose(self, mode: Compare) -> None:
        self.workspace.session.compare = mode


class TakeCard(QFrame):
    """One take; a click puts it in use, another one goes back to the source."""

    def __init__(self, workspace: Workspace, take: Take, parent: QWidget) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.workspace, self.take = workspace, take
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(f"{take.prompt}\nClick to put it in use, click again for the source")
        self.thumbnail = QLabel(self)
        self.thumbnail.setFixedSize(_THUMBNAIL)
        self.thumbnail.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.export = tool_button("export", "Export this take (Ctrl+E)", self)
        self.delete = tool_button("trash", "Delete this take from the project", self)
        self.delete.clicked.connect(lambda: commands.remove_take(workspace.project, take))
        self.curves = Sparklines(self)
        self.curves.show_curves(curves_of(take.report))
        words = QVBoxLayout()
        words.setSpacing(4)
        name, facts = QLabel(take.name, self), quiet(take_words(take), self)
        name.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        facts.setAlignment(Qt.AlignmentFlag.AlignTop)  # what room a high thumbnail leaves is below them
        words.addWidget(name)
        words.addWidget(facts)
        words.addWidget(self.curves)
        tools = QVBoxLayout()
        tools.setSpacing(0)
        tools.addWidget(self.export)
        tools.addWidget(self.delete)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 8, 4, 8)
        layout.setSpacing(8)
        layout.addWidget(self.thumbnail, alignment=Qt.AlignmentFlag.AlignTop)
        layout.addLayout(words, 1)
        layout.addLayout(tools)
        layout.setAlignment(tools, Qt.AlignmentFlag.AlignTop)
        workspace.screen.take_thumbnail(take, self._show_thumbnail)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        project = self.workspace.project
        commands.use_take(project, None if project.take_in_use == self.take.id else self.take)

    def _show_thumbnail(self, image: NDArray[Any]) -> None:
        if not isValid(self.thumbnail):
            return  # the card was closed while its picture was being read
        self.thumbnail.setPixmap(
            QPixmap.fromImage(picture(image)).scaled(
                _THUMBNAIL, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
            )
        )


def take_words(take: Take) -> str:
    """What there is to know about a take, on two short lines."""
    lines = [f"frames {take.start} to {take.stop - 1} · seed {take.seed}"]
    seconds = take.report.get("seconds")
    facts = []
    if isinstance(seconds, dict):
        facts.append(duration(sum(float(value) for value in seconds.values())))
    share = take.report.get("background_exact_share")
    if isinstance(share, (int, float)):
        facts.append("background exact" if share >= 1 else f"background {share:.1%} exact")
    if facts:
        lines.append(" · ".join(facts))
    return "\n".join(lines)


def _compare_words(mode: Compare) -> str:
    match mode:
        case Compare.OFF:
            return "Show the take in use"
        case Compare.WIPE:
            return "Show the source left of the handle and the take right of it (Ctrl+\\)"
        case Compare.SOURCE:
            return "Show the source alone (\\)"
