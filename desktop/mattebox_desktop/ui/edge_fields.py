"""The edge of a region: what is made of its mask, and how softly it ends."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker
from PySide6.QtWidgets import QComboBox, QFormLayout, QLabel, QSpinBox, QWidget

from mattebox_desktop.model import commands
from mattebox_desktop.model.bindings import Bindings
from mattebox_desktop.model.region import MaskMode, Region
from mattebox_desktop.service.workspace import Workspace
from mattebox_desktop.ui.number_field import ScrubLabel, whole_number

_MODES = {
    MaskMode.TIGHT: "As painted",
    MaskMode.DILATED: "Grown",
    MaskMode.ELLIPSE: "Ellipse",
    MaskMode.BOX: "Box",
}


class EdgeFields(QWidget):
    """Mask mode, growth (where the mode grows the mask) and feather, in pixels of the clip."""

    def __init__(self, workspace: Workspace, region: Region, parent: QWidget) -> None:
        super().__init__(parent)
        self._workspace, self._region = workspace, region
        self._bindings = Bindings()
        side = max(region.masks.shape)
        self.mode = QComboBox(self)
        for mode, words in _MODES.items():
            self.mode.addItem(words, mode.value)
        self.mode.setToolTip("As painted, grown, or the ellipse or the box around each of its parts")
        # The region list is narrow: the field takes the room there is, not what its longest words need.
        self.mode.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.dilation = whole_number(0, side, "px", self)
        self.feather = whole_number(0, side, "px", self)
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 4, 0, 0)
        self._form.setSpacing(4)
        self._form.addRow(QLabel("Mask", self), self.mode)
        self._add_number("Grow by", self.dilation)
        self._add_number("Feather", self.feather)
        self.mode.activated.connect(lambda _: self._tell())
        for prop in (Region.mode, Region.dilation, Region.feather):
            self._bindings.add(prop.changed(region).connect(lambda _: self._show()))
        self._show()

    def release(self) -> None:
        """Ends the connections to the region."""
        self._bindings.clear()

    def _add_number(self, words: str, field: QSpinBox) -> None:
        label = ScrubLabel(words, field, self)
        label.reset.connect(lambda: field.setValue(0))
        field.valueChanged.connect(lambda _: self._tell())
        self._form.addRow(label, field)

    def _show(self) -> None:
        region = self._region
        with QSignalBlocker(self.dilation), QSignalBlocker(self.feather):
            self.dilation.setValue(region.dilation)
            self.feather.setValue(region.feather)
        self.mode.setCurrentIndex(self.mode.findData(region.mode.value))
        self._form.setRowVisible(self.dilation, region.mode is MaskMode.DILATED)

    def _tell(self) -> None:
        commands.set_region_edge(
            self._workspace.project,
            self._region,
            mode=MaskMode(self.mode.currentData()),
            dilation=self.dilation.value(),
            feather=self.feather.value(),
        )
