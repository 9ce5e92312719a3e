"""How far a caption is, below the field that it is for."""

from __future__ import annotations

from PySide6.QtWidgets import QLabel, QWidget

from mattebox_desktop.service.captions import Captions


class CaptionState(QLabel):
    """One quiet line, there only while the field is being filled. purpose: as in the order of the caption."""

    def __init__(self, captions: Captions, purpose: object, parent: QWidget) -> None:
        super().__init__(parent)
        self._captions = captions
        self._purpose = purpose
        self.setProperty("quiet", True)
        captions.changed.connect(self._show_state)
        self._show_state()

    def _show_state(self) -> None:
        busy = self._captions.purpose is not None and self._captions.purpose is self._purpose
        self.setText(self._captions.words if busy else "")
        self.setVisible(busy)
