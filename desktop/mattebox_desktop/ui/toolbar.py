"""The toolbar: tools, brush size and hardness, undo and redo."""

from __future__ import annotations

from math import log

from PySide6.QtCore import QSignalBlocker, QSize, Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QSlider, QToolBar, QWidget

from mattebox_desktop.model.brush import MAX_SIZE, Brush
from mattebox_desktop.model.session import Session, Tool
from mattebox_desktop.ui.actions import Actions
from mattebox_desktop.ui.number_field import ScrubLabel, whole_number
from mattebox_desktop.ui.parts import stretch

_SLIDER_STEPS = 100


class ToolBar(QToolBar):
    def __init__(self, session: Session, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__("Tools", parent)
        self.setObjectName("tools")
        self.setMovable(False)
        self.setIconSize(QSize(18, 18))
        self.session = session
        for action in (actions.select, actions.brush, actions.erase, actions.box):
            self.addAction(action)
        self.addSeparator()
        self.size_field = whole_number(1, int(MAX_SIZE), "px", self)
        self.size_field.setFixedWidth(72)
        self.size_field.setToolTip("Brush size ([ and ])")
        self.size_slider = _slider("Brush size ([ and ])", self)
        self.hardness_field = whole_number(0, 100, "%", self)
        self.hardness_field.setFixedWidth(64)
        self.hardness_field.setToolTip("Brush hardness ({ and })")
        self.hardness_slider = _slider("Brush hardness ({ and })", self)
        size_label = ScrubLabel("Size", self.size_field, self)
        hardness_label = ScrubLabel("Hardness", self.hardness_field, self)
        self.addWidget(_group(size_label, self.size_field, self.size_slider))
        self.addWidget(_group(hardness_label, self.hardness_field, self.hardness_slider))
        self.addSeparator()
        for action in (actions.masks, actions.wipe, actions.fit):
            self.addAction(action)
        self.addWidget(stretch(self))
        for action in (actions.undo, actions.redo):
            self.addAction(action)
        size_label.reset.connect(lambda: self._set(session.brush.resized(Brush().size)))
        hardness_label.reset.connect(lambda: self._set(session.brush.hardened(Brush().hardness)))
        self.size_field.valueChanged.connect(lambda value: self._set(session.brush.resized(value)))
        self.size_slider.valueChanged.connect(
            lambda value: self._set(session.brush.resized(MAX_SIZE ** (value / _SLIDER_STEPS)))
        )
        self.hardness_field.valueChanged.connect(lambda value: self._set(session.brush.hardened(value / 100)))
        self.hardness_slider.valueChanged.connect(
            lambda value: self._set(session.brush.hardened(value / _SLIDER_STEPS))
        )
        self._tools = {
            Tool.SELECT: actions.select,
            Tool.BRUSH: actions.brush,
            Tool.ERASE: actions.erase,
            Tool.BOX: actions.box,
        }
        for tool, action in self._tools.items():
            action.triggered.connect(lambda _=False, tool=tool: self._choose(tool))
        Session.brush.changed(session).connect(self._show_brush)
        Session.tool.changed(session).connect(self._show_tool)
        self._show_brush(session.brush)
        self._show_tool(session.tool)

    def _choose(self, tool: Tool) -> None:
        self.session.tool = tool

    def _set(self, brush: Brush) -> None:
        self.session.brush = brush

    def _show_tool(self, tool: Tool) -> None:
        self._tools[tool].setChecked(True)

    def _show_brush(self, brush: Brush) -> None:
        for widget, value in (
            (self.size_field, round(brush.size)),
            (self.size_slider, slider_place(brush.size)),
            (self.hardness_field, round(brush.hardness * 100)),
            (self.hardness_slider, round(brush.hardness * _SLIDER_STEPS)),
        ):
            with QSignalBlocker(widget):
                widget.setValue(value)


def slider_place(size: float) -> int:
    """Where a brush size lies on the slider, whose steps are equal factors."""
    return round(_SLIDER_STEPS * log(max(1.0, size)) / log(MAX_SIZE))


def _slider(words: str, parent: QWidget) -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal, parent)
    slider.setRange(0, _SLIDER_STEPS)
    slider.setFixedWidth(88)
    slider.setToolTip(words)
    slider.setAccessibleName(words)
    slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return slider


def _group(label: QLabel, field: QWidget, slider: QWidget) -> QWidget:
    group = QWidget()
    group.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
    row = QHBoxLayout(group)
    row.setContentsMargins(4, 0, 8, 0)
    row.setSpacing(8)
    for widget in (label, field, slider):
        row.addWidget(widget)
    return group
