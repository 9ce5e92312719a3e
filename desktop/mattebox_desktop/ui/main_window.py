"""The window: where each part stands, and what each action does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QByteArray, QEvent, QSize, Qt, QTimer
from PySide6.QtGui import (
    QCloseEvent,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDragMoveEvent,
    QDropEvent,
    QKeySequence,
    QShortcut,
)
from PySide6.QtWidgets import (
    QDockWidget,
    QMainWindow,
    QScrollArea,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from mattebox_desktop.model.bindings import Bindings
from mattebox_desktop.model.project import Project, Take
from mattebox_desktop.model.session import Compare, Session
from mattebox_desktop.service.job_view import JobView
from mattebox_desktop.service.preferences import preferences
from mattebox_desktop.service.sample import sample
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui.actions import Actions
from mattebox_desktop.ui.commands_of_window import WindowCommands
from mattebox_desktop.ui.edit_panel import EditPanel
from mattebox_desktop.ui.empty_state import EmptyState
from mattebox_desktop.ui.menus import build_menus
from mattebox_desktop.ui.notice_bar import NoticeBar
from mattebox_desktop.ui.parts import stretch
from mattebox_desktop.ui.pictures import picture
from mattebox_desktop.ui.queue_panel import QueuePanel
from mattebox_desktop.ui.reference_actions import ReferenceCommands
from mattebox_desktop.ui.regions_panel import RegionsPanel
from mattebox_desktop.ui.status_dot import StatusDot
from mattebox_desktop.ui.takes_panel import TakesPanel
from mattebox_desktop.ui.timeline import Timeline
from mattebox_desktop.ui.toolbar import ToolBar
from mattebox_desktop.ui.transport import Transport
from mattebox_desktop.ui.viewer import Viewer

LAYOUT_VERSION = 1


class MainWindow(QMainWindow):
    """Owns the widgets; the workspace owns everything else."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self._bindings = Bindings()
        self.setAcceptDrops(True)
        self.setMinimumSize(960, 600)
        self.setDockNestingEnabled(True)
        self.actions_ = Actions(self)
        self.viewer = Viewer(workspace.session)
        self.notices = NoticeBar()
        self.empty = EmptyState(with_sample=sample() is not None)
        self.regions = RegionsPanel(workspace)
        self.edit = EditPanel(workspace)
        self.takes = TakesPanel(workspace)
        self.queue = QueuePanel(workspace)
        self.timeline = Timeline(workspace)
        self.transport = Transport(workspace, self.timeline, self.actions_)
        self.tools = ToolBar(workspace.session, self.actions_)
        self.dot = StatusDot(workspace)
        self.tabs = QTabWidget()
        self._stack = QStackedWidget()
        self._lay_out()
        self.commands = WindowCommands(self)
        self.reference_commands = ReferenceCommands(self)
        self._connect()
        self._project_replaced(workspace.project)
        self._restore_layout()

    # -- layout ----------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self._stack.addWidget(self.empty)
        self._stack.addWidget(self.viewer)
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.notices)
        column.addWidget(self._stack, 1)
        self.setCentralWidget(centre)
        self.addToolBar(self.tools)
        for panel, words in ((self.edit, "Edit"), (self.takes, "Takes"), (self.queue, "Queue")):
            self.tabs.addTab(panel, words)
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setExpanding(True)
        self.tabs.setMinimumWidth(280)
        self.regions.setMinimumWidth(220)
        tracks = QScrollArea()
        tracks.setWidgetResizable(True)
        tracks.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        tracks.setWidget(self.timeline)
        bottom = QWidget()
        bottom.setProperty("panel", True)
        bottom.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        rows = QVBoxLayout(bottom)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(0)
        rows.addWidget(self.transport)
        rows.addWidget(tracks, 1)
        self.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.BottomDockWidgetArea)
        self.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.BottomDockWidgetArea)
        area = Qt.DockWidgetArea
        self.docks = [
            self._dock("Regions", self.regions, area.LeftDockWidgetArea),
            self._dock("Edit, takes, queue", self.tabs, area.RightDockWidgetArea),
            self._dock("Timeline", bottom, area.BottomDockWidgetArea),
        ]
        self.resizeDocks(self.docks[:2], [264, 320], Qt.Orientation.Horizontal)
        self.resizeDocks(self.docks[2:], [220], Qt.Orientation.Vertical)
        build_menus(self)
        self.menuBar().setCornerWidget(self.dot, Qt.Corner.TopRightCorner)

    def _dock(self, words: str, widget: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(words, self)
        dock.setObjectName(f"dock {words}")
        grip = stretch(dock)  # a slim bar to drag the dock by; its menu entry hides and shows it
        grip.setFixedHeight(4)
        grip.setCursor(Qt.CursorShape.SizeAllCursor)
        dock.setTitleBarWidget(grip)
        dock.setWidget(widget)
        self.addDockWidget(area, dock)
        return dock

    def sizeHint(self) -> QSize:
        return QSize(1440, 900)

    def _restore_layout(self) -> None:
        kept = preferences()
        geometry, state = kept.value("geometry"), kept.value("layout")
        if isinstance(geometry, QByteArray):
            self.restoreGeometry(geometry)
        else:
            self.resize(self.sizeHint())
        if isinstance(state, QByteArray):
            self.restoreState(state, LAYOUT_VERSION)

    def _keep_layout(self) -> None:
        kept = preferences()
        kept.setValue("geometry", self.saveGeometry())
        kept.setValue("layout", self.saveState(LAYOUT_VERSION))

    # -- connections -----------------------------------------------------------------------------------------

    def _connect(self) -> None:
        workspace = self.workspace
        workspace.documents.replaced.connect(self._project_replaced)
        workspace.documents.renamed.connect(self._show_title)
        workspace.screen.frame_ready.connect(self._show_frame)
        workspace.noticed.connect(self.notices.show_notice)
        workspace.settled.connect(self.notices.settle)
        workspace.take_added.connect(self._take_added)
        workspace.renders.job_changed.connect(self._count_jobs)
        workspace.open_requested.connect(self.commands.open)
        workspace.relink_requested.connect(self.commands.relink)
        workspace.recover_requested.connect(self.commands.recover)
        self.empty.open_asked.connect(self.commands.open)
        self.empty.sample_asked.connect(self.commands.open_sample)
        self.edit.render_asked.connect(self.actions_.render.trigger)
        self.edit.describe_prompt.setDefaultAction(self.actions_.describe_prompt)
        self.edit.describe_source.setDefaultAction(self.actions_.describe_source)
        self.takes.export_asked.connect(self.commands.export)
        self.tabs.currentChanged.connect(lambda _: self._mark_takes(False))
        self.viewer.addAction(self.actions_.masks)
        session = workspace.session
        Session.masks_shown.changed(session).connect(self.actions_.masks.setChecked)
        self.actions_.masks.setChecked(session.masks_shown)
        Session.compare.changed(session).connect(self._show_compare)
        for number in range(1, 10):
            shortcut = QShortcut(QKeySequence(str(number)), self)
            shortcut.activated.connect(lambda number=number: self.commands.choose_region(number - 1))

    def _project_replaced(self, project: Project) -> None:
        self.viewer.set_project(project)
        self._stack.setCurrentWidget(self.empty if project.clip is None else self.viewer)
        self._bindings.clear()
        self._bindings.add(
            Project.clip.changed(project).connect(
                lambda clip: self._stack.setCurrentWidget(self.empty if clip is None else self.viewer)
            )
        )
        self._bindings.add(project.changes.changed.connect(self.commands.enable))
        self._bindings.add(project.regions.changed.connect(self.commands.enable))
        self._bindings.add(project.changes.changed.connect(self.reference_commands.enable))
        self.commands.enable()
        self.reference_commands.enable()
        self._mark_takes(False)
        self._show_title()

    def _show_frame(self, _: int, source: NDArray[np.uint8], take: NDArray[np.uint8] | None) -> None:
        used = self.workspace.project.take(self.workspace.project.take_in_use)
        self.viewer.set_frame(
            picture(source), None if take is None else picture(take), "" if used is None else used.name
        )

    def _show_compare(self, mode: Compare) -> None:
        self.actions_.before.setChecked(mode is Compare.SOURCE)
        self.actions_.wipe.setChecked(mode is Compare.WIPE)

    def _show_title(self) -> None:
        documents = self.workspace.documents
        self.setWindowTitle(f"{documents.name}[*] – Mattebox")
        self.setWindowModified(documents.dirty)

    def _take_added(self, _: Take) -> None:
        self._mark_takes(self.tabs.currentWidget() is not self.takes)

    def _mark_takes(self, new: bool) -> None:
        count = len(self.workspace.project.takes)
        index = self.tabs.indexOf(self.takes)
        if new or self.tabs.currentWidget() is self.takes or count == 0:
            words = f"Takes {count}" if count else "Takes"
            self.tabs.setTabText(index, f"{words} •" if new else words)

    def _count_jobs(self, _: JobView) -> None:
        active = len(self.workspace.renders.active)
        self.tabs.setTabText(self.tabs.indexOf(self.queue), f"Queue {active}" if active else "Queue")

    # -- drops and closing -----------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        event.acceptProposedAction()
        paths = _local_files(event)
        if paths:
            self.reference_commands.frame_of_drop(paths[0], event.position().toPoint())

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self.timeline.show_drop(None)

    def dropEvent(self, event: QDropEvent) -> None:
        """A picture on the viewer or the timeline becomes a reference; everything else is opened."""
        paths = _local_files(event)
        if not paths:
            return
        event.acceptProposedAction()
        frame = self.reference_commands.frame_of_drop(paths[0], event.position().toPoint())
        self.timeline.show_drop(None)
        # The drop ends first: a question must not hang inside the other program's drag.
        if frame is None:
            QTimer.singleShot(0, self, lambda: self.commands.open_path(paths[0]))
        else:
            QTimer.singleShot(0, self, lambda: self.reference_commands.drop(paths, frame))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.ActivationChange and self.isActiveWindow():
            self.workspace.captions.look()  # a captioner may have been fetched in a terminal meanwhile

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self.commands.may_close():
            event.ignore()
            return
        self._keep_layout()
        self.viewer.cancel_gesture()
        self.workspace.close()
        event.accept()


def _local_files(event: QDropEvent) -> list[Path]:
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
