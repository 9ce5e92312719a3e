"""The references in the Edit tab: what each looks like, when, and for which region."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QEvent, QPoint, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPixmap
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from mattebox_desktop.model import commands, reference_commands
from mattebox_desktop.model.bindings import Bindings
from mattebox_desktop.model.method_choice import AUTO
from mattebox_desktop.model.observed import bind
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.reference import Picture, Reference
from mattebox_desktop.model.region import Region
from mattebox_desktop.model.session import Session
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui.parts import quiet, restyle, tool_button
from mattebox_desktop.ui.reference_words import auto_helps, note, place_words
from mattebox_desktop.ui.thumbnails import thumbnail
from mattebox_desktop.ui.timeline_painting import draw_swatch

_THUMBNAIL = QSize(72, 54)
_HINT = (
    "A reference is an edited picture of one frame: how a region should look then. Add this frame, edit it "
    "in your image editor, and every save comes back. Or drop a picture onto the viewer."
)
_DELETE = (Qt.Key.Key_Delete, Qt.Key.Key_Backspace)


class ReferencesSection(QWidget):
    """Folds. Signals: `add_asked`, `open_asked` for a picture of one's own; and of a reference: `edit_asked`,
    `replace_asked`, `menu_asked(Reference, QPoint)`; `reveal_asked(QWidget)` when a card is to be seen.
    """

    add_asked = Signal()
    open_asked = Signal()
    edit_asked = Signal(object)
    replace_asked = Signal(object)
    menu_asked = Signal(object, QPoint)
    reveal_asked = Signal(object)

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.workspace = workspace
        self.cards: list[ReferenceCard] = []
        self._bindings = Bindings()
        self.title = QPushButton(self)
        self.title.setProperty("link", True)
        self.title.setCheckable(True)
        self.title.toggled.connect(lambda _: self._show())
        self.shown = tool_button("eye", "Show references in the viewer (Alt+\\)", self)
        self.shown.setCheckable(True)
        self.shown.clicked.connect(self._toggle_shown)
        self.hint = quiet(_HINT, self)
        self.note = quiet("", self)
        self.auto = QPushButton("Choose Auto", self)
        self.auto.setProperty("link", True)
        self.auto.clicked.connect(lambda: commands.set_method(self.workspace.project, AUTO))
        self.add = QPushButton("Add frame", self)
        self.add.setToolTip("Add a reference from this frame (Ctrl+Shift+R)")
        self.add.clicked.connect(self.add_asked)
        self.open = QPushButton("Add picture…", self)
        self.open.setToolTip("Add a reference from a picture at this frame (Ctrl+Shift+I)")
        self.open.clicked.connect(self.open_asked)
        self._body = QWidget(self)
        self._list = QVBoxLayout()
        self._lay_out()
        session = workspace.session
        Session.reference.changed(session).connect(lambda _: self._show_chosen())
        Session.references_shown.changed(session).connect(self.shown.setChecked)
        workspace.references.changed.connect(lambda _: self.title.setChecked(True))
        workspace.backend.methods.connect(lambda _: self._show())
        workspace.documents.replaced.connect(self.set_project)
        self.set_project(workspace.project)

    def set_project(self, project: Project) -> None:
        self._bindings.clear()
        self._bindings.add(project.references.changed.connect(self._rebuild))
        self._bindings.add(project.changes.changed.connect(self._show))
        self._rebuild()

    # -- layout ----------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(4)
        head.addWidget(self.title)
        head.addStretch()
        head.addWidget(self.shown)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self.add, 1)
        buttons.addWidget(self.open, 1)
        self._list.setSpacing(8)
        body = QVBoxLayout(self._body)
        body.setContentsMargins(0, 0, 0, 0)
        body.setSpacing(8)
        body.addWidget(self.hint)
        body.addWidget(self.note)
        body.addWidget(self.auto, alignment=Qt.AlignmentFlag.AlignLeft)
        body.addLayout(self._list)
        body.addLayout(buttons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(head)
        layout.addWidget(self._body)

    # -- showing ---------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        project = self.workspace.project
        kept = {id(card.reference): card for card in self.cards}
        references = list(project.references)
        for card in self.cards:
            self._list.removeWidget(card)
            if not any(card.reference is reference for reference in references):
                card.release()
        self.cards = [kept.get(id(reference)) or self._card(reference) for reference in references]
        self._show()
        self._show_chosen()

    def _card(self, reference: Reference) -> ReferenceCard:
        card = ReferenceCard(self.workspace, reference, self._body)
        card.edit.clicked.connect(lambda: self.edit_asked.emit(reference))
        card.replace.clicked.connect(lambda: self.replace_asked.emit(reference))
        card.menu_asked.connect(lambda at: self.menu_asked.emit(reference, at))
        card.step_asked.connect(lambda by: self._step(card, by))
        card.delete.clicked.connect(lambda: self.remove(reference))
        return card

    def _show(self) -> None:
        """What depends on more than one reference: how many there are, their order, and what becomes of
        them.
        """
        project, known = self.workspace.project, self.workspace.known
        count, open_ = len(project.references), self.title.isChecked()
        words = f"References ({count})" if count else "References"
        self.title.setText(f"{'▾' if open_ else '▸'} {words}")
        self.cards.sort(key=lambda card: card.reference.frame)
        for place, card in enumerate(self.cards):
            if self._list.indexOf(card) != place:
                self._list.insertWidget(place, card)
                card.show()
            card.show_place()
        self._body.setVisible(open_)
        self.shown.setVisible(count > 0)
        self.hint.setVisible(not count)
        self.note.setText(note(project, known))
        self.note.setVisible(bool(self.note.text()))
        self.auto.setVisible(auto_helps(project, known))
        for button in (self.add, self.open):
            button.setEnabled(project.clip is not None)

    def _show_chosen(self) -> None:
        chosen = self.workspace.session.reference
        for card in self.cards:
            restyle(card, "selected", card.reference is chosen)
            if card.reference is chosen:  # its place is known once the layout has been made
                QTimer.singleShot(0, card, lambda card=card: self.reveal_asked.emit(card))

    def _toggle_shown(self, on: bool) -> None:
        self.workspace.session.references_shown = on

    # -- keyboard --------------------------------------------------------------------------------------------

    def remove(self, reference: Reference) -> None:
        """Removes one; the cursor goes to its neighbour."""
        index = next((i for i, card in enumerate(self.cards) if card.reference is reference), None)
        focused = index is not None and self.cards[index].isAncestorOf(self.focusWidget() or self)
        project = self.workspace.project
        self.workspace.guarded(lambda: reference_commands.remove_reference(project, reference))
        if index is not None and self.cards and focused:
            self.cards[min(index, len(self.cards) - 1)].setFocus()

    def _step(self, card: ReferenceCard, by: int) -> None:
        index = self.cards.index(card) + by
        if 0 <= index < len(self.cards):
            self.cards[index].setFocus()


class ReferenceCard(QFrame):
    """One reference; a click goes to its frame. Signals: `menu_asked(QPoint)`, `step_asked(int)`."""

    menu_asked = Signal(QPoint)
    step_asked = Signal(int)

    def __init__(self, workspace: Workspace, reference: Reference, parent: QWidget) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Click or Enter goes to the frame, Delete removes the reference")
        self.workspace, self.reference = workspace, reference
        self._bindings = Bindings()
        self._of_region = Bindings()
        self.picture = QLabel(self)
        self.swatch = _RegionButton(workspace, reference, self)
        self.region = QLabel(self)
        self.region.setMinimumWidth(0)
        self.region.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.place = quiet("", self)
        self.go = tool_button("crosshair-simple", "Go to this frame (Enter)", self)
        self.go.clicked.connect(self.choose)
        self.edit = tool_button("pencil-simple", "Edit in the image editor (Ctrl+Shift+E)", self)
        self.replace = tool_button("image-square", "Replace with another picture…", self)
        self.delete = tool_button("trash", "Remove this reference (Delete)", self)
        self._lay_out()
        add = self._bindings.add
        add(bind(Reference.picture.changed(reference), self._show_picture, reference.picture))
        add(Reference.frame.changed(reference).connect(lambda _: self.show_place()))
        add(bind(Reference.region.changed(reference), self._show_region, reference.region))

    def release(self) -> None:
        """Ends the card's life once its reference has gone."""
        self._bindings.clear()
        self._of_region.clear()
        self.hide()
        self.deleteLater()

    def choose(self) -> None:
        """Makes it the one that commands are about, and goes to its frame."""
        self.workspace.session.reference = self.reference
        self.workspace.playback.stop()
        self.workspace.go_to(self.reference.frame)

    def show_place(self) -> None:
        """Where it stands, and why it has no part in a render."""
        self.place.setText(place_words(self.workspace.project, self.reference))
        self.setAccessibleName(f"Reference of {self.reference.region.name}, {self.place.text()}")

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.setSpacing(4)
        top.addWidget(self.swatch)
        top.addWidget(self.region, 1)
        tools = QHBoxLayout()
        tools.setContentsMargins(-4, 0, 0, 0)  # the icons stand below the letters
        tools.setSpacing(0)
        for button in (self.go, self.edit, self.replace, self.delete):
            tools.addWidget(button)
        tools.addStretch()
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addLayout(top)
        words.addWidget(self.place)
        words.addLayout(tools)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 4)
        layout.setSpacing(12)
        layout.addWidget(self.picture, alignment=Qt.AlignmentFlag.AlignTop)
        layout.addLayout(words, 1)

    def _show_picture(self, shown: Picture) -> None:
        ratio = self.devicePixelRatioF()
        scaled = QPixmap.fromImage(thumbnail(shown)).scaled(
            _THUMBNAIL * ratio, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
        scaled.setDevicePixelRatio(ratio)
        self.picture.setPixmap(scaled)
        self.picture.setFixedSize(scaled.deviceIndependentSize().toSize())
        self.picture.setToolTip(Path(shown.source).name if shown.edited else "The frame as it is")

    def _show_region(self, region: Region) -> None:
        self._of_region.clear()
        self._of_region.add(bind(Region.name.changed(region), self.region.setText, region.name))
        for prop in (Region.color, Region.letter):
            self._of_region.add(prop.changed(region).connect(lambda _: self.swatch.update()))
        self.swatch.update()

    # -- mouse and keyboard ----------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.setFocus()
            self.choose()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.edit.click()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        self.workspace.session.reference = self.reference
        self.menu_asked.emit(event.globalPos())

    def event(self, event: QEvent) -> bool:
        # Delete is a shortcut of the window's too: here it is about this reference.
        override = event.type() == QEvent.Type.ShortcutOverride
        if override and isinstance(event, QKeyEvent) and event.key() in _DELETE:
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        match Qt.Key(event.key()):
            case Qt.Key.Key_Return | Qt.Key.Key_Enter:
                self.choose()
            case Qt.Key.Key_Delete | Qt.Key.Key_Backspace:
                self.delete.click()
            case Qt.Key.Key_Down:
                self.step_asked.emit(1)
            case Qt.Key.Key_Up:
                self.step_asked.emit(-1)
            case _:
                super().keyPressEvent(event)


class _RegionButton(QToolButton):
    """The region's colour and letter; a click offers the other regions."""

    def __init__(self, workspace: Workspace, reference: Reference, parent: QWidget) -> None:
        super().__init__(parent)
        self._workspace, self._reference = workspace, reference
        self.setFixedSize(QSize(24, 24))
        self.setToolTip("Bind to another region")
        self.setAccessibleName("Region")
        self.clicked.connect(self._offer)

    def paintEvent(self, event: QPaintEvent) -> None:
        draw_swatch(QPainter(self), QRectF(2, 2, 20, 20), self._reference.region)

    def _offer(self) -> None:
        menu = region_menu(self._workspace, self._reference, self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.mapToGlobal(self.rect().bottomLeft()))


def region_menu(workspace: Workspace, reference: Reference, parent: QWidget) -> QMenu:
    """The regions that a reference can be bound to, the topmost first."""
    menu = QMenu("Bind to region", parent)
    for region in reversed(list(workspace.project.regions)):
        pixels = QPixmap(16, 16)
        pixels.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixels)
        draw_swatch(painter, QRectF(0, 0, 16, 16), region)
        painter.end()
        action = menu.addAction(pixels, region.name.replace("&", "&&"))
        action.setEnabled(region is not reference.region)
        action.triggered.connect(
            lambda _=False, region=region: workspace.guarded(
                lambda: reference_commands.bind_reference(workspace.project, reference, region)
            )
        )
    return menu
