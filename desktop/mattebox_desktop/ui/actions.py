"""Every action of the window: its words, icon and shortcut. Menus, toolbar, palette and help all read it
here.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QActionGroup, QKeySequence

from mattebox_desktop.ui.icons import icon


class Actions(QObject):
    """The actions, made without a meaning: the window connects them."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.all: list[QAction] = []
        make = self._make
        # File
        self.new = make("New project", "file", "Ctrl+N")
        self.open = make("Open…", "folder-open", "Ctrl+O")
        self.recover = make("Recover unsaved work…")
        self.save = make("Save", "floppy-disk", "Ctrl+S")
        self.save_as = make("Save as…", "", "Ctrl+Shift+S")
        self.export = make("Export…", "export", "Ctrl+E")
        self.export_frame = make("Export this frame as PNG…", "image-square", "Ctrl+Alt+E")
        self.quit = make("Quit", "", "Ctrl+Q")
        # Edit
        self.undo = make("Undo", "arrow-u-up-left", "Ctrl+Z")
        self.redo = make("Redo", "arrow-u-up-right", "Ctrl+Y", "Ctrl+Shift+Z")
        self.palette = make("Command palette…", "magnifying-glass", "Ctrl+K")
        # Clip
        self.play = make("Play", "play")
        self.faster = make("Play, or play faster", "", "L")
        self.pause = make("Pause", "", "K")
        self.backwards = make("Play backwards, or faster", "", "J")
        self.back = make("Back one frame", "caret-left", "Left")
        self.forward = make("On one frame", "caret-right", "Right")
        self.back_ten = make("Back ten frames", "", "Shift+Left")
        self.forward_ten = make("On ten frames", "", "Shift+Right")
        self.home = make("Go to the start", "skip-back", "Home")
        self.end = make("Go to the end", "skip-forward", "End")
        self.set_in = make("Set in here", "", "I")
        self.set_out = make("Set out here", "", "O")
        self.whole_clip = make("In and out to the whole clip", "", "Alt+X")
        # Region
        self.add_region = make("Add region", "plus", "Ctrl+Shift+N")
        self.delete_region = make("Delete region", "trash", "Ctrl+Backspace")
        self.raise_region = make("Move up", "arrow-up", "Ctrl+Up")
        self.lower_region = make("Move down", "arrow-down", "Ctrl+Down")
        self.hold_range = make("Hold mask from in to out", "", "H")
        self.hold_span = make("Hold mask over frames…", "", "Shift+H")
        self.fill_mask = make("Fill mask", "paint-bucket", "Shift+Backspace")
        self.clear_mask = make("Clear mask", "", "Backspace")
        self.delete_key = make("Delete key", "", "Delete")
        # References
        self.add_reference = make("Add reference from this frame", "plus", "Ctrl+Shift+R")
        self.open_reference = make("Add reference from a picture…", "image-square", "Ctrl+Shift+I")
        self.edit_reference = make("Edit this frame in the image editor", "pencil-simple", "Ctrl+Shift+E")
        self.replace_reference = make("Replace the reference's picture…")
        self.reference_here = make("Move the reference to this frame", "", "Ctrl+Shift+M")
        self.remove_reference = make("Remove the reference", "trash")
        self.reference_before = make("Go to the reference before", "", "Alt+Left")
        self.reference_after = make("Go to the next reference", "", "Alt+Right")
        self.choose_editor = make("Choose the image editor…")
        # Render
        self.render = make("Render in–out", "sparkle", "Ctrl+Return", "Ctrl+Enter")
        self.render_without = make("Render without references")
        self.cancel = make("Cancel renders", "stop", "Ctrl+.")
        self.describe_source = make("Describe the source in “Was”", "chat-centered-text", "Ctrl+D")
        self.describe_prompt = make("Describe the source in “Prompt”", "chat-centered-text", "Ctrl+Shift+D")
        # View
        self.fit = make("Fit", "corners-out", "F")
        self.actual_size = make("Actual size", "", "Ctrl+0")
        self.zoom_in = make("Zoom in", "magnifying-glass-plus", "Ctrl++", "Ctrl+=")
        self.zoom_out = make("Zoom out", "magnifying-glass-minus", "Ctrl+-")
        self.masks = self._toggle("Show masks", "eye", "Tab")
        self.before = self._toggle("Before (source)", "", "\\")
        self.wipe = self._toggle("Wipe between source and take", "square-half", "Ctrl+\\")
        self.references = self._toggle("Show references", "image-square", "Alt+\\")
        self.light = self._toggle("Light theme", "sun")
        # Tools
        self.select = self._toggle("Select", "cursor", "V")
        self.brush = self._toggle("Brush", "paint-brush", "B")
        self.erase = self._toggle("Erase", "eraser", "E")
        self.box = self._toggle("Box", "rectangle", "R")
        self.tools = QActionGroup(self)
        for tool in (self.select, self.brush, self.erase, self.box):
            self.tools.addAction(tool)
        self.smaller = make("Smaller brush", "", "[")
        self.larger = make("Larger brush", "", "]")
        self.softer = make("Softer brush", "", "{", "Shift+[")
        self.harder = make("Harder brush", "", "}", "Shift+]")
        # Help
        self.shortcuts = make("Keyboard shortcuts", "keyboard", "F1")
        self.report = make("Copy report", "copy")
        self.about = make("About Mattebox", "info")
        # Tab walks through the fields everywhere but in the viewer.
        self.masks.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        for action in (
            self.back,
            self.forward,
            self.smaller,
            self.larger,
            self.softer,
            self.harder,
            self.undo,
        ):
            action.setAutoRepeat(True)

    def _make(self, words: str, icon_name: str = "", *shortcuts: str) -> QAction:
        action = QAction(words, self)
        if icon_name:
            action.setIcon(icon(icon_name))
            action.setProperty("icon_name", icon_name)
        action.setShortcuts([QKeySequence(shortcut) for shortcut in shortcuts])
        key = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        action.setToolTip(f"{words} ({key})" if key else words)
        action.setAutoRepeat(False)
        self.all.append(action)
        return action

    def _toggle(self, words: str, icon_name: str = "", *shortcuts: str) -> QAction:
        action = self._make(words, icon_name, *shortcuts)
        action.setCheckable(True)
        return action

    def show_icon(self, action: QAction, name: str) -> None:
        """Gives an action another icon."""
        if action.property("icon_name") != name:
            action.setProperty("icon_name", name)
            action.setIcon(icon(name))

    def repaint_icons(self) -> None:
        """Makes the icons again, in the colours of the palette that is now in use."""
        for action in self.all:
            name = action.property("icon_name")
            if name:
                action.setIcon(icon(name))
