"""The Edit tab: what the clip should become, by which method, and the button that renders it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from mattebox_desktop.model import commands
from mattebox_desktop.model.bindings import Bindings
from mattebox_desktop.model.edit_request import used_references
from mattebox_desktop.model.method_choice import AUTO, Choice, Known, choose
from mattebox_desktop.model.observed import Observed, bind
from mattebox_desktop.model.project import Project
from mattebox_desktop.service.job_view import MethodInfo, ModelInfo, ParameterInfo
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui.caption_state import CaptionState
from mattebox_desktop.ui.number_field import ScrubLabel, whole_number
from mattebox_desktop.ui.parameters import ParameterForm
from mattebox_desktop.ui.parts import PANEL_MARGIN, quiet, rule, tool_button
from mattebox_desktop.ui.reference_words import auto_words
from mattebox_desktop.ui.references_panel import ReferencesSection

_OF_EDIT_FILES = "custom"
"""The method whose controls are listed in an edit file; the window has no list of controls."""

_WITH_PROMPTS = "Regions with prompts of their own"

T = TypeVar("T")

STEPS = "steps"
LARGEST_SEED = 2**31 - 1
"""What Qt's number field holds; an edit file may say a larger one."""
DRAFT_SHARE = 0.4
"""A draft takes this share of the default number of steps."""


class EditPanel(QWidget):
    """Every field is a command on the project. Signal `render_asked`."""

    render_asked = Signal()

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("panel", True)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.workspace = workspace
        self._bindings = Bindings()
        self._methods: list[MethodInfo] = list(workspace.backend.known_methods)
        self._models: list[ModelInfo] = []
        self.prompt = _Words("Optional: the whole picture as it should be", self)
        self.source_prompt = _Words("Optional: the whole picture as it is", self)
        self.describe_prompt, self.describe_source = QToolButton(self), QToolButton(self)
        self.method = QComboBox(self)
        self.why = QPushButton("why?", self)
        self.why.setProperty("link", True)
        self.why.setCheckable(True)
        self.why_words = quiet("", self)
        self.why_words.hide()
        self.model = QComboBox(self)
        for box in (self.method, self.model):  # long names are cut, rather than the panel
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(8)
        self.draft, self.final = QRadioButton("Draft", self), QRadioButton("Final", self)
        self.seed = whole_number(0, LARGEST_SEED, parent=self)
        self.dice = tool_button("shuffle", "Another seed", self)
        self.more = QPushButton("▸ Parameters", self)
        self.more.setProperty("link", True)
        self.more.setCheckable(True)
        self.parameters = ParameterForm(workspace, self)
        self.parameters.hide()
        self.references = ReferencesSection(workspace, self)
        self._shown_choice: Choice | None = None
        self.render_button = QPushButton("Render in–out", self)
        self.render_button.setProperty("primary", True)
        self.render_button.setMinimumHeight(36)
        self.render_button.setToolTip("Render the frames between in and out (Ctrl+Enter)")
        self._lay_out()
        self._connect()
        self.set_methods(self._methods)
        self.set_project(workspace.project)

    def set_project(self, project: Project) -> None:
        self._bindings.clear()
        self._bind(project, Project.prompt, self.prompt.show_text)
        self._bind(project, Project.source_prompt, self.source_prompt.show_text)
        self._bind(project, Project.method, lambda _: self._show_method())
        self._bind(project, Project.backbone, self._show_model)
        self._bind(project, Project.seed, self._show_seed)
        for prop in (Project.in_point, Project.out_point):
            self._bind(project, prop, lambda _: self._show_range())
        self._bind(project, Project.clip, lambda _: self._show_range())
        self._bindings.add(Project.params.changed(project).connect(lambda _: self._show_params()))
        self._bindings.add(project.changes.changed.connect(self._choice_changed))
        self._show_params()

    def set_methods(self, methods: list[MethodInfo]) -> None:
        """The methods that the backend knows; those not in this version yet, and the one whose controls are
        listed in an edit file, cannot be chosen.
        """
        self._methods = methods
        with QSignalBlocker(self.method):
            self.method.clear()
            self.method.addItem("Auto", AUTO)
            for info in methods:
                usable = info.available and info.id != _OF_EDIT_FILES
                why = "edit files only" if info.available else "not yet"
                self.method.addItem(info.title if usable else f"{info.title} ({why})", info.id)
                items = self.method.model()
                if isinstance(items, QStandardItemModel):
                    items.item(self.method.count() - 1).setEnabled(usable)
        self._show_method()

    def set_models(self, models: list[ModelInfo]) -> None:
        self._models = models
        with QSignalBlocker(self.model):
            self.model.clear()
            for info in models:
                self.model.addItem(info.id if info.available else f"{info.id} (not here)", info.id)
                self.model.setItemData(self.model.count() - 1, info.note, Qt.ItemDataRole.ToolTipRole)
        self._show_model(self.workspace.project.backbone)
        self._choice_changed()

    @property
    def choice(self) -> Choice:
        """The method and the model that would render now."""
        project, known = self.workspace.project, Known(self._methods, self._models)
        used = bool(used_references(project))
        return choose(project.method, project.backbone, known, with_references=used)

    @property
    def chosen(self) -> MethodInfo | None:
        """The method that would render now."""
        wanted = self.choice.method
        return next((info for info in self._methods if info.id == wanted), None)

    @property
    def chosen_parameters(self) -> tuple[ParameterInfo, ...]:
        """The parameters of that method; where the chosen model does better with another default, that
        one.
        """
        method, backbone = self.chosen, self.choice.backbone
        if method is None:
            return ()
        model = next((info for info in self._models if info.id == backbone), None)
        better = {} if model is None else model.defaults.get(method.id, {})
        return tuple(replace(p, default=better.get(p.name, p.default)) for p in method.parameters)

    # -- layout ----------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        form = QGridLayout()
        form.setHorizontalSpacing(12)
        form.setVerticalSpacing(8)
        form.setColumnStretch(1, 1)
        top = Qt.AlignmentFlag.AlignTop
        method_row, quality_row, seed_row = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        for row in (method_row, quality_row, seed_row):
            row.setSpacing(8)
        method_row.addWidget(self.method, 1)
        method_row.addWidget(self.why)
        quality_row.addWidget(self.draft)
        quality_row.addWidget(self.final)
        quality_row.addStretch()
        seed_row.addWidget(self.seed, 1)
        seed_row.addWidget(self.dice)
        self.seed_label = ScrubLabel("Seed", self.seed, self)
        self.quality_label = QLabel("Quality", self)
        labels = [QLabel("Prompt", self), QLabel("Was", self), QLabel("Method", self), QLabel("Model", self)]
        for label in labels[:2]:
            label.setContentsMargins(0, 6, 0, 0)
        captions = self.workspace.captions
        described = (
            (self.prompt, self.describe_prompt, commands.describe_prompt),
            (self.source_prompt, self.describe_source, commands.describe_source_prompt),
        )
        for place, (field, button, purpose) in enumerate(described):
            button.setFixedSize(28, 28)
            button.setIconSize(QSize(16, 16))
            form.addLayout(_stacked(labels[place], button), place, 0, top)
            form.addLayout(_stacked(field, CaptionState(captions, purpose, self)), place, 1)
        form.addWidget(labels[2], 2, 0)
        form.addLayout(method_row, 2, 1)
        form.addWidget(self.why_words, 3, 1)
        form.addWidget(labels[3], 4, 0)
        form.addWidget(self.model, 4, 1)
        form.addWidget(self.quality_label, 5, 0)
        form.addLayout(quality_row, 5, 1)
        form.addWidget(self.seed_label, 6, 0)
        form.addLayout(seed_row, 6, 1)
        content = QWidget(self)
        content.setProperty("panel", True)
        column = QVBoxLayout(content)
        column.setContentsMargins(PANEL_MARGIN, PANEL_MARGIN, PANEL_MARGIN, PANEL_MARGIN)
        column.setSpacing(8)
        column.addLayout(form)
        column.addWidget(rule(self))
        column.addWidget(self.more, alignment=Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self.parameters)
        column.addWidget(self.references)
        column.addStretch()
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        self.references.reveal_asked.connect(scroll.ensureWidgetVisible)
        bottom = QWidget(self)
        foot = QVBoxLayout(bottom)
        foot.setContentsMargins(PANEL_MARGIN, 8, PANEL_MARGIN, PANEL_MARGIN)
        self.range_words = quiet("", self)
        self.range_words.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        foot.addWidget(self.range_words)
        foot.addWidget(self.render_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        layout.addWidget(bottom)

    def _connect(self) -> None:
        workspace = self.workspace
        group = QButtonGroup(self)
        group.addButton(self.draft)
        group.addButton(self.final)
        self.prompt.edited.connect(lambda text: commands.set_prompt(workspace.project, text))
        self.source_prompt.edited.connect(lambda text: commands.set_source_prompt(workspace.project, text))
        self.method.activated.connect(
            lambda index: commands.set_method(workspace.project, str(self.method.itemData(index)))
        )
        self.model.activated.connect(
            lambda index: commands.set_backbone(workspace.project, str(self.model.itemData(index)))
        )
        self.seed.valueChanged.connect(lambda value: commands.set_seed(workspace.project, int(value)))
        self.seed_label.reset.connect(lambda: commands.set_seed(workspace.project, 0))
        self.dice.clicked.connect(
            lambda: commands.set_seed(workspace.project, random.randrange(LARGEST_SEED))
        )
        self.draft.clicked.connect(lambda: self._set_quality(draft=True))
        self.final.clicked.connect(lambda: self._set_quality(draft=False))
        self.why.toggled.connect(self.why_words.setVisible)
        self.more.toggled.connect(self._unfold)
        self.render_button.clicked.connect(self.render_asked)
        workspace.backend.methods.connect(self.set_methods)
        workspace.backend.models.connect(self.set_models)
        workspace.documents.replaced.connect(self.set_project)

    def _bind(self, project: Project, prop: Observed[T], show: Callable[[T], object]) -> None:
        value: T = prop.__get__(project, Project)
        self._bindings.add(bind(prop.changed(project), show, value))

    # -- showing ---------------------------------------------------------------------------------------------

    def _choice_changed(self) -> None:
        """References that come or go may be another method's, and another model's."""
        if self.choice != self._shown_choice:
            self._show_method()

    def _show_method(self) -> None:
        self._shown_choice = self.choice
        self.method.setItemText(0, auto_words(self.workspace.project, Known(self._methods, self._models)))
        index = self.method.findData(self.workspace.project.method)
        self.method.setCurrentIndex(max(0, index))
        chosen = self.chosen
        self.parameters.set_parameters(self.chosen_parameters)
        self.more.setEnabled(chosen is not None)
        if chosen is None:
            self.why_words.setText("The methods show once the backend is ready.")
        else:
            auto = self.workspace.project.method == AUTO
            made_for = "Edited pictures of some frames" if chosen.takes_references else _WITH_PROMPTS
            chosen_words = f"{made_for} are what it is made for. " if auto else ""
            self.why_words.setText(f"{chosen.title} ({chosen.id}). {chosen_words}{chosen.summary}")
        self._show_params()

    def _show_model(self, backbone: str) -> None:
        index = self.model.findData(backbone)
        if index < 0:
            self.model.addItem(backbone, backbone)
            index = self.model.count() - 1
        self.model.setCurrentIndex(index)
        self.parameters.set_parameters(self.chosen_parameters)
        self._show_params()

    def _show_seed(self, seed: int) -> None:
        with QSignalBlocker(self.seed):
            self.seed.setValue(min(seed, LARGEST_SEED))
        larger = f"The seed is {seed}, more than fits in here; it holds until you change it."
        self.seed.setToolTip(larger if seed > LARGEST_SEED else "")

    def _show_range(self) -> None:
        project = self.workspace.project
        self.render_button.setEnabled(project.clip is not None)
        count = project.out_point - project.in_point
        words = f"frames {project.in_point} to {project.out_point - 1}: {count} frame{'s' * (count != 1)}"
        self.range_words.setText("" if project.clip is None else words)

    def _show_params(self) -> None:
        self.parameters.show_values(self.workspace.project)
        steps = self._steps()
        for widget in (self.draft, self.final, self.quality_label):
            widget.setVisible(steps is not None)
        if steps is not None:
            value = self.workspace.project.params.get(STEPS, steps.default)
            self.draft.setChecked(value == self._draft_steps(steps))
            self.final.setChecked(value == steps.default)

    # -- quality ---------------------------------------------------------------------------------------------

    def _steps(self) -> ParameterInfo | None:
        return next((p for p in self.chosen_parameters if p.name == STEPS and p.kind == "int"), None)

    @staticmethod
    def _draft_steps(steps: ParameterInfo) -> int:
        return max(int(steps.low or 1), round(DRAFT_SHARE * float(steps.default)))

    def _set_quality(self, *, draft: bool) -> None:
        steps, project = self._steps(), self.workspace.project
        if steps is None:
            return
        if draft:
            commands.set_parameter(project, STEPS, self._draft_steps(steps))
        else:
            commands.reset_parameter(project, STEPS)

    def _unfold(self, on: bool) -> None:
        self.more.setText("▾ Parameters" if on else "▸ Parameters")
        self.parameters.setVisible(on)


def _stacked(*widgets: QWidget) -> QVBoxLayout:
    column = QVBoxLayout()
    column.setSpacing(4)
    for widget in widgets:
        column.addWidget(widget)
    return column


class _Words(QPlainTextEdit):
    """Two or three lines of prompt. Signal `edited(text)` for what the user typed, not for what was shown."""

    edited = Signal(str)

    def __init__(self, hint: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setPlaceholderText(hint)
        self.setAccessibleName(hint)
        self.setFixedHeight(68)
        self.setTabChangesFocus(True)
        self._showing = False
        self.textChanged.connect(self._tell)

    def show_text(self, text: str) -> None:
        if text == self.toPlainText():
            return
        self._showing = True
        self.setPlainText(text)
        self._showing = False

    def _tell(self) -> None:
        if not self._showing:
            self.edited.emit(self.toPlainText())
