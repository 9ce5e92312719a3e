"""What each action of the window does."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from mattebox_media import files_at
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog, QMessageBox

from mattebox_desktop.model import commands
from mattebox_desktop.model.errors import NothingToUndoError, RangeError, TransactionOpenError
from mattebox_desktop.model.project import Project, Take
from mattebox_desktop.model.project_file import SUFFIX, project_path
from mattebox_desktop.model.region import Region
from mattebox_desktop.model.session import Compare
from mattebox_desktop.service.preferences import last_folder, preferences
from mattebox_desktop.service.sample import sample
from mattebox_desktop.ui import palette
from mattebox_desktop.ui.dialogs import (
    CommandPalette,
    ExportDialog,
    HoldDialog,
    ShortcutsDialog,
    ask_to_save,
    ask_to_stop,
    ask_what_to_recover,
)
from mattebox_desktop.ui.icons import repaint_icons

if TYPE_CHECKING:
    from mattebox_desktop.ui.main_window import MainWindow

_PROJECTS = f"Mattebox project (*{SUFFIX})"
_CLIPS = (
    "Clips, projects and edits "
    "(*.mp4 *.mov *.mkv *.webm *.avi *.m4v *.mxf *.png *.jpg *.jpeg *.mattebox *.toml *.json)"
)
_SIZE_STEP = 1.15


class WindowCommands:
    """Connects the window's actions to the workspace and asks what has to be asked."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._workspace = window.workspace
        self._connect()

    @property
    def _project(self) -> Project:
        return self._workspace.project

    def _connect(self) -> None:
        a, workspace, window = self._window.actions_, self._workspace, self._window
        session, playback = workspace.session, workspace.playback
        triggers: dict[object, Callable[[], object]] = {
            a.new: self.new,
            a.open: self.open,
            a.recover: self.choose_recovery,
            a.save: self.save,
            a.save_as: self.save_as,
            a.export: lambda: self.export(self._project.take(self._project.take_in_use)),
            a.quit: window.close,
            a.undo: self.undo,
            a.redo: self.redo,
            a.palette: self.show_palette,
            a.play: lambda: playback.toggle(session.frame),
            a.faster: lambda: playback.faster(session.frame, 1),
            a.pause: playback.stop,
            a.backwards: lambda: playback.faster(session.frame, -1),
            a.back: lambda: workspace.step(-1),
            a.forward: lambda: workspace.step(1),
            a.back_ten: lambda: workspace.step(-10),
            a.forward_ten: lambda: workspace.step(10),
            a.home: lambda: workspace.step(-session.frame),
            a.end: lambda: workspace.step(10**9),
            a.set_in: lambda: self._do(lambda: commands.set_in(self._project, session.frame)),
            a.set_out: lambda: self._do(lambda: commands.set_out(self._project, session.frame)),
            a.whole_clip: lambda: self._do(self._whole_clip),
            a.add_region: window.regions.add,
            a.delete_region: lambda: self._with_region(lambda r: commands.remove_region(self._project, r)),
            a.raise_region: lambda: self._with_region(lambda r: self._shift(r, 1)),
            a.lower_region: lambda: self._with_region(lambda r: self._shift(r, -1)),
            a.hold_range: lambda: self._with_region(self._hold_range),
            a.hold_span: lambda: self._with_region(self._hold_span),
            a.fill_mask: lambda: self._with_region(
                lambda r: commands.fill_mask(self._project, r, session.frame)
            ),
            a.clear_mask: lambda: self._with_region(
                lambda r: commands.clear_mask(self._project, r, session.frame)
            ),
            a.delete_key: lambda: self._with_region(
                lambda r: commands.remove_key(self._project, r, session.frame)
            ),
            a.render: workspace.render,
            a.cancel: self.cancel_renders,
            a.describe_source: lambda: self._do(workspace.describe_source),
            a.describe_prompt: lambda: self._do(workspace.describe_prompt),
            a.fit: window.viewer.fit,
            a.actual_size: window.viewer.actual_size,
            a.zoom_in: lambda: window.viewer.zoom(1.25),
            a.zoom_out: lambda: window.viewer.zoom(0.8),
            a.masks: self.toggle_masks,
            a.before: lambda: self._compare(Compare.SOURCE),
            a.wipe: lambda: self._compare(Compare.WIPE),
            a.light: self.apply_theme,
            a.smaller: lambda: self._resize_brush(1 / _SIZE_STEP),
            a.larger: lambda: self._resize_brush(_SIZE_STEP),
            a.softer: lambda: self._harden_brush(-0.1),
            a.harder: lambda: self._harden_brush(0.1),
            a.shortcuts: lambda: ShortcutsDialog(a.all, window).exec(),
            a.report: lambda: QGuiApplication.clipboard().setText(workspace.report("Report asked for")),
            a.about: self.about,
        }
        for action, act in triggers.items():
            action.triggered.connect(lambda _=False, act=act: act())  # type: ignore[attr-defined]
        workspace.captions.changed.connect(self.show_captions)

    def enable(self) -> None:
        """Greys what makes no sense now, and names what undo would undo."""
        a, project = self._window.actions_, self._project
        changes = project.changes
        has_clip = project.clip is not None
        for action in (
            a.save,
            a.save_as,
            a.export,
            a.render,
            a.add_region,
            a.set_in,
            a.set_out,
            a.whole_clip,
        ):
            action.setEnabled(has_clip)
        for action, title, words in (
            (a.undo, changes.undo_title, "Undo"),
            (a.redo, changes.redo_title, "Redo"),
        ):
            action.setEnabled(title is not None)
            action.setText(words if title is None else f"{words} {title[0].lower()}{title[1:]}")
            action.setToolTip(f"{action.text()} ({action.shortcut().toString()})")
        references_shown = self._workspace.session.references_shown and len(project.references) > 0
        for action in (a.before, a.wipe):
            action.setEnabled(references_shown or project.take(project.take_in_use) is not None)
        self.show_captions()

    def show_captions(self) -> None:
        """Offers to describe the frame at the in point, to stop that, or says why it cannot be done."""
        a, captions = self._window.actions_, self._workspace.captions
        for action, purpose, field in (
            (a.describe_source, commands.describe_source_prompt, "Was"),
            (a.describe_prompt, commands.describe_prompt, "Prompt"),
        ):
            busy = captions.purpose is purpose
            why = "" if self._project.clip is not None else "There is no clip yet."
            why = captions.why_not or why
            action.setEnabled(busy or not why)
            action.setText("Stop describing" if busy else f"Describe the source in “{field}”")
            action.setToolTip(described_words(action.text(), action.shortcut().toString(), why))
            a.show_icon(action, "stop" if busy else "chat-centered-text")

    # -- documents -------------------------------------------------------------------------------------------

    def new(self) -> None:
        if self.may_leave():
            self._workspace.documents.new()

    def open(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self._window, "Open a clip or a project", last_folder(), f"{_CLIPS};;All files (*)"
        )
        if name:
            self.open_path(Path(name))

    def open_path(self, path: Path) -> None:
        """Opens a clip or a project in place of the one at hand, after asking about unsaved changes."""
        if self.may_leave():
            preferences().setValue("folder", str(path.parent))
            self._open(path)

    def open_sample(self) -> None:
        """Opens what ships. Its folder is not remembered: nothing of the user's belongs there."""
        path = sample()
        if path is not None and self.may_leave():
            self._open(path)

    def _open(self, path: Path) -> None:
        self._workspace.guarded(lambda: self._workspace.documents.open(path))

    def relink(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self._window, "Find the project's clip", last_folder())
        if name:
            self._workspace.guarded(lambda: self._workspace.documents.relink(Path(name)))

    def choose_recovery(self) -> None:
        """Offers everything that crashed desktops left."""
        left = self._workspace.documents.left_behind()
        if not left:
            QMessageBox.information(
                self._window, "Recover unsaved work", "There is no unsaved work to recover."
            )
            return
        path = ask_what_to_recover(left, self._window)
        if path is not None:
            self.recover(path)

    def recover(self, path: Path) -> None:
        if self.may_leave():
            self._workspace.recover(path)

    def save(self) -> bool:
        documents = self._workspace.documents
        if documents.path is None:
            return self.save_as()
        path = documents.path
        return self._workspace.guarded(lambda: documents.save(path))

    def save_as(self) -> bool:
        documents = self._workspace.documents
        suggested = documents.path or Path(last_folder()) / f"{documents.name}{SUFFIX}"
        name, _ = QFileDialog.getSaveFileName(self._window, "Save the project", str(suggested), _PROJECTS)
        if not name:
            return False
        path = project_path(Path(name))
        if path != Path(name) and not self.may_replace(path):  # the dialog asked about the name as typed
            return False
        return self._workspace.guarded(lambda: documents.save(path))

    def may_close(self) -> bool:
        """Asks about what closing would cut off, then about unsaved changes."""
        busy = self._workspace.busy
        return (not busy or ask_to_stop(busy, self._window)) and self.may_leave()

    def may_leave(self) -> bool:
        """Asks about unsaved changes; False when the user wants to stay."""
        documents = self._workspace.documents
        self._window.viewer.cancel_gesture()
        self._window.timeline.end_drag()
        if not documents.dirty:
            return True
        answer = ask_to_save(documents.name, self._window)
        if answer == QMessageBox.StandardButton.Save:
            return self.save()
        return answer == QMessageBox.StandardButton.Discard

    def export(self, take: Take | None) -> None:
        name = f"{self._workspace.documents.name}-edit"
        dialog = ExportDialog(self._project, take, Path(last_folder()), name, self._window)
        accepted = dialog.exec()
        target, chosen, (start, stop) = dialog.target, dialog.chosen_format, dialog.frames
        taken = dialog.chosen_take
        dialog.deleteLater()
        if accepted and self.may_replace(target):
            preferences().setValue("folder", str(target.parent))
            self._workspace.export(target, chosen.format, start, stop, taken)
            self._window.tabs.setCurrentWidget(self._window.queue)

    def may_replace(self, target: Path) -> bool:
        """Asks where something stands there already."""
        if not files_at(target):
            return True
        yes = QMessageBox.StandardButton.Yes
        question = f"“{target.name}” exists already. Replace it?"
        return QMessageBox.question(self._window, "Replace file", question) == yes

    # -- editing ---------------------------------------------------------------------------------------------

    def undo(self) -> None:
        self._step(self._project.changes.undo)

    def redo(self) -> None:
        self._step(self._project.changes.redo)

    def choose_region(self, index: int) -> None:
        """Chooses a region by its place in the list, the topmost first."""
        regions = list(reversed(list(self._project.regions)))
        if index < len(regions):
            self._workspace.session.region = regions[index]

    def _step(self, step: Callable[[], str]) -> None:
        try:
            step()
        except (NothingToUndoError, TransactionOpenError):
            QApplication.beep()  # a stroke is under way, or the key was hit once too often

    def _do(self, command: Callable[[], object]) -> None:
        self._workspace.guarded(command)

    def _with_region(self, command: Callable[[Region], object]) -> None:
        def run() -> None:
            region = self._workspace.session.region
            if region is None:
                raise RangeError("No region is chosen; choose one in the region list first.")
            command(region)

        self._do(run)

    def _whole_clip(self) -> None:
        commands.set_range(self._project, 0, commands.require_clip(self._project).frame_count)

    def _shift(self, region: Region, by: int) -> None:
        commands.move_region(self._project, region, self._project.regions.index(region) + by)

    def _hold_range(self, region: Region) -> None:
        project = self._project
        commands.hold_mask(
            project, region, self._workspace.session.frame, project.in_point, project.out_point
        )

    def _hold_span(self, region: Region) -> None:
        frame = self._workspace.session.frame
        dialog = HoldDialog(self._project, frame, self._window)
        accepted, first, last = dialog.exec(), dialog.first.value(), dialog.last.value()
        dialog.deleteLater()
        if accepted:
            commands.hold_mask(self._project, region, frame, first, last + 1)

    def _resize_brush(self, factor: float) -> None:
        session = self._workspace.session
        wanted = session.brush.size * factor
        step = 1 if factor > 1 else -1
        session.brush = session.brush.resized(
            wanted if abs(wanted - session.brush.size) >= 1 else session.brush.size + step
        )

    def _harden_brush(self, by: float) -> None:
        session = self._workspace.session
        session.brush = session.brush.hardened(round(session.brush.hardness + by, 2))

    # -- looking ---------------------------------------------------------------------------------------------

    def toggle_masks(self) -> None:
        session = self._workspace.session
        session.masks_shown = not session.masks_shown

    def cancel_renders(self) -> None:
        for job in self._workspace.renders.active:
            self._workspace.cancel(job.key)

    def show_palette(self) -> None:
        dialog = CommandPalette(self._window.actions_.all, self._window)
        accepted, chosen = dialog.exec(), dialog.chosen
        dialog.deleteLater()
        if accepted and chosen is not None:
            chosen.trigger()

    def apply_theme(self) -> None:
        """Dark, or light when that is checked; remembered."""
        light = self._window.actions_.light.isChecked()
        application = QApplication.instance()
        if isinstance(application, QApplication):
            palette.apply(application, palette.LIGHT if light else palette.DARK)
        preferences().setValue("theme", "light" if light else "dark")
        self._window.actions_.repaint_icons()
        repaint_icons(self._window)

    def about(self) -> None:
        QMessageBox.about(
            self._window,
            "About Mattebox",
            f"Mattebox {version('mattebox')}\n\nMask it, say what should be there, render only that.",
        )

    def _compare(self, mode: Compare) -> None:
        session = self._workspace.session
        session.compare = Compare.OFF if session.compare is mode else mode


def described_words(words: str, key: str, why: str) -> str:
    """A tooltip of lines that fit a screen. why: the action cannot be done, and what would help."""
    return "\n".join([f"{words} ({key})", *textwrap.wrap(why, 70, break_on_hyphens=False)])
