"""The transport: where the playhead is, buttons to move it, in and out, the take in use, the timeline's
zoom.
"""

from __future__ import annotations

import math

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSlider, QToolButton, QWidget

from mattebox_desktop.model import commands
from mattebox_desktop.model.bindings import Bindings
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.session import Session
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui.actions import Actions
from mattebox_desktop.ui.icons import icon
from mattebox_desktop.ui.number_field import ScrubLabel, whole_number
from mattebox_desktop.ui.parts import quiet
from mattebox_desktop.ui.time_scale import MAX_PIXELS
from mattebox_desktop.ui.timecode import timecode
from mattebox_desktop.ui.timeline import Timeline


class Transport(QWidget):
    """One row above the timeline."""

    def __init__(
        self, workspace: Workspace, timeline: Timeline, actions: Actions, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.workspace, self.timeline = workspace, timeline
        self._play = actions.play
        self._bindings = Bindings()
        self.clock = QLabel(self)
        self.clock.setStyleSheet("font-family: monospace;")
        self.clock.setToolTip("Hours, minutes, seconds and frames")
        self.frame_words = quiet("", self)
        self.frame_words.setWordWrap(False)
        self.frame_words.setMinimumWidth(96)
        self.in_field, self.out_field = whole_number(0, 0, parent=self), whole_number(0, 0, parent=self)
        self.in_field.setToolTip("The first frame that is rendered (I sets it to the playhead)")
        self.out_field.setToolTip("The last frame that is rendered (O sets it to the playhead)")
        for field in (self.in_field, self.out_field):
            field.setFixedWidth(64)
        self.used = QComboBox(self)
        self.used.setMinimumWidth(112)
        self.used.setToolTip("What stands for the clip in the viewer")
        self.zoom = QSlider(Qt.Orientation.Horizontal, self)
        self.zoom.setRange(0, 1000)
        self.zoom.setFixedWidth(112)
        self.zoom.setToolTip("Zoom of the timeline (Ctrl+wheel)")
        self.zoom.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 4, 12, 4)
        layout.setSpacing(4)
        layout.addWidget(self.clock)
        layout.addSpacing(8)
        layout.addWidget(self.frame_words)
        layout.addSpacing(8)
        for action in (actions.home, actions.back, actions.play, actions.forward, actions.end):
            layout.addWidget(_button(action, self))
        layout.addSpacing(12)
        layout.addWidget(ScrubLabel("In", self.in_field, self))
        layout.addWidget(self.in_field)
        layout.addWidget(ScrubLabel("Out", self.out_field, self))
        layout.addWidget(self.out_field)
        layout.addStretch()
        layout.addWidget(quiet("In use", self))
        layout.addWidget(self.used)
        layout.addSpacing(12)
        layout.addWidget(self.zoom)
        self._connect()
        self.set_project(workspace.project)

    def set_project(self, project: Project) -> None:
        self._bindings.clear()
        for prop in (Project.in_point, Project.out_point):
            self._bindings.add(prop.changed(project).connect(lambda _: self._show_range()))
        self._bindings.add(Project.clip.changed(project).connect(lambda _: self._show_range()))
        self._bindings.add(project.takes.changed.connect(self._show_takes))
        self._bindings.add(Project.take_in_use.changed(project).connect(lambda _: self._show_takes()))
        self._show_range()
        self._show_takes()

    def _connect(self) -> None:
        workspace = self.workspace
        Session.frame.changed(workspace.session).connect(self._show_frame)
        workspace.documents.replaced.connect(self.set_project)
        workspace.playback.speed_changed.connect(self._show_speed)
        self.in_field.valueChanged.connect(
            lambda value: workspace.guarded(lambda: commands.set_in(workspace.project, value))
        )
        self.out_field.valueChanged.connect(
            lambda value: workspace.guarded(lambda: commands.set_out(workspace.project, value))
        )
        self.used.activated.connect(self._use)
        self.zoom.valueChanged.connect(self._zoom_to)
        self.timeline.scale_changed.connect(self._show_zoom)

    def _show_frame(self, frame: int) -> None:
        clip = self.workspace.project.clip
        if clip is None:
            self.clock.setText("--:--:--:--")
            self.frame_words.setText("")
        else:
            self.clock.setText(timecode(frame, clip.frame_rate))
            self.frame_words.setText(f"frame {frame} of {clip.frame_count}")

    def _show_range(self) -> None:
        project = self.workspace.project
        last = 0 if project.clip is None else project.clip.frame_count - 1
        for field, value in ((self.in_field, project.in_point), (self.out_field, project.out_point - 1)):
            with QSignalBlocker(field):
                field.setRange(0, last)
                field.setValue(value)
            field.setEnabled(project.clip is not None)
        self._show_frame(self.workspace.session.frame)

    def _show_takes(self) -> None:
        project = self.workspace.project
        with QSignalBlocker(self.used):
            self.used.clear()
            self.used.addItem("Source", None)
            for take in project.takes:
                self.used.addItem(take.name, take.id)
            self.used.setCurrentIndex(max(0, self.used.findData(project.take_in_use)))
        self.used.setEnabled(len(project.takes) > 0)

    def _use(self, index: int) -> None:
        project = self.workspace.project
        commands.use_take(project, project.take(self.used.itemData(index)))

    def _show_speed(self, speed: int) -> None:
        self._play.setIcon(icon("pause" if speed else "play"))
        self._play.setText("Pause" if speed else "Play")

    # The slider runs from "whole clip" to the largest zoom in equal factors.

    def _zoom_to(self, value: int) -> None:
        low = min(MAX_PIXELS, self.timeline.scale.shortest)
        wanted = low * (MAX_PIXELS / low) ** (value / 1000)
        self.timeline.zoom(wanted / self.timeline.scale.pixels)

    def _show_zoom(self) -> None:
        low = min(MAX_PIXELS, self.timeline.scale.shortest)
        span = math.log(MAX_PIXELS / low)
        value = 0 if span <= 0 else round(1000 * math.log(self.timeline.scale.pixels / low) / span)
        with QSignalBlocker(self.zoom):
            self.zoom.setValue(value)
        self.zoom.setEnabled(span > 0)


def _button(action: QAction, parent: QWidget) -> QToolButton:
    button = QToolButton(parent)
    button.setDefaultAction(action)
    button.setFixedSize(28, 28)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button
