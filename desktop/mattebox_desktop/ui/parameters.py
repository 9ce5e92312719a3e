"""A method's parameters as a form made from what the backend says of them."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QLineEdit, QWidget

from mattebox_desktop.model import commands
from mattebox_desktop.model.project import Project, Value
from mattebox_desktop.service.job_view import ParameterInfo
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui.number_field import ScrubLabel, real_number, whole_number

_LARGE = 1_000_000


class ParameterForm(QWidget):
    """One row per parameter; a value that equals the default is not kept in the project."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.workspace = workspace
        self.parameters: tuple[ParameterInfo, ...] = ()
        self.fields: dict[str, QWidget] = {}
        self._show: dict[str, Callable[[Value], None]] = {}
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(8)
        self._grid.setColumnStretch(1, 1)

    def set_parameters(self, parameters: tuple[ParameterInfo, ...]) -> None:
        """Shows these; the values come from the project."""
        if parameters == self.parameters:
            return
        self.parameters = parameters
        self.fields.clear()
        self._show.clear()
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for row, parameter in enumerate(parameters):
            label, field = self._made(parameter)
            label.setToolTip(parameter.description)
            field.setToolTip(parameter.description)
            self._grid.addWidget(label, row, 0)
            self._grid.addWidget(field, row, 1)
            self.fields[parameter.name] = field
        self.show_values(self.workspace.project)

    def show_values(self, project: Project) -> None:
        for parameter in self.parameters:
            self._show[parameter.name](project.params.get(parameter.name, parameter.default))

    def _made(self, parameter: ParameterInfo) -> tuple[QLabel, QWidget]:
        name, words = parameter.name, parameter.name.replace("_", " ").capitalize()
        if parameter.choices or parameter.kind == "text":
            return self._text(parameter, words)
        if parameter.kind == "bool":
            box = QCheckBox(self)
            box.clicked.connect(lambda on: self._set(parameter, bool(on)))
            self._show[name] = lambda value: box.setChecked(bool(value))
            return QLabel(words, self), box
        low = -_LARGE if parameter.low is None else parameter.low
        high = _LARGE if parameter.high is None else parameter.high
        if parameter.kind == "int":
            whole = whole_number(int(low), int(high), parameter.unit, self)
            whole.valueChanged.connect(lambda value: self._set(parameter, int(value)))
            self._show[name] = lambda value: _quietly(whole, lambda: whole.setValue(int(value)))
            label = ScrubLabel(words, whole, self)
            field: QWidget = whole
        else:
            real = real_number(low, high, 2, parameter.unit, self)
            real.valueChanged.connect(lambda value: self._set(parameter, float(value)))
            self._show[name] = lambda value: _quietly(real, lambda: real.setValue(float(value)))
            label = ScrubLabel(words, real, self)
            field = real
        label.reset.connect(lambda: commands.reset_parameter(self.workspace.project, name))
        return label, field

    def _text(self, parameter: ParameterInfo, words: str) -> tuple[QLabel, QWidget]:
        if parameter.choices:
            box = QComboBox(self)
            box.addItems(list(parameter.choices))
            as_value = {"int": int, "float": float}.get(parameter.kind, str)
            box.textActivated.connect(lambda text: self._set(parameter, as_value(text)))
            self._show[parameter.name] = lambda value: box.setCurrentText(str(value))
            return QLabel(words, self), box
        line = QLineEdit(self)
        line.textEdited.connect(lambda text: self._set(parameter, text))
        self._show[parameter.name] = lambda value: line.setText(str(value))
        return QLabel(words, self), line

    def _set(self, parameter: ParameterInfo, value: Value) -> None:
        project = self.workspace.project
        if value == project.params.get(parameter.name, parameter.default):
            return
        if value == parameter.default:
            commands.reset_parameter(project, parameter.name)
        else:
            commands.set_parameter(project, parameter.name, value)


def _quietly(widget: QWidget, act: Callable[[], object]) -> None:
    """Shows a value without telling it as the user's."""
    blocked = widget.blockSignals(True)
    try:
        act()
    finally:
        widget.blockSignals(blocked)
