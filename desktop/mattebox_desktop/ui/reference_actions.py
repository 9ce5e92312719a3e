"""What the window's actions, menus and drops do with references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QPointF
from PySide6.QtWidgets import QFileDialog, QMenu

from mattebox_desktop.model import reference_commands as commands
from mattebox_desktop.model.errors import RangeError
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.reference import Reference
from mattebox_desktop.model.region import Region
from mattebox_desktop.model.session import Session
from mattebox_desktop.service.image_editor import image_editor, set_image_editor
from mattebox_desktop.service.picture_files import PICTURE_ENDINGS, is_picture_name
from mattebox_desktop.service.pixels import Fit
from mattebox_desktop.service.preferences import last_folder, preferences
from mattebox_desktop.service.reference_reading import Unfit
from mattebox_desktop.ui import timeline_painting
from mattebox_desktop.ui.reference_dialogs import EditorDialog, FitDialog, ask_which_region
from mattebox_desktop.ui.references_panel import region_menu

if TYPE_CHECKING:
    from mattebox_desktop.ui.main_window import MainWindow

_PICTURES = f"Pictures ({' '.join(f'*{ending}' for ending in PICTURE_ENDINGS)})"


class ReferenceCommands:
    """Connects the actions about references to the workspace and asks what has to be asked."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._workspace = window.workspace
        self._references = window.workspace.references
        self._connect()
        self.enable()

    @property
    def _project(self) -> Project:
        return self._workspace.project

    def _connect(self) -> None:
        a, window, session = self._window.actions_, self._window, self._workspace.session
        triggers: dict[object, Callable[[], object]] = {
            a.export_frame: self.export_frame,
            a.add_reference: self.add_frame,
            a.open_reference: self.add_picture,
            a.edit_reference: self.edit_frame,
            a.replace_reference: lambda: self._with_chosen(self.replace),
            a.reference_here: lambda: self._with_chosen(self._move_here),
            a.remove_reference: lambda: self._with_chosen(self.remove),
            a.reference_before: lambda: self._go(-1),
            a.reference_after: lambda: self._go(1),
            a.references: self.toggle_shown,
            a.choose_editor: self.choose_editor,
            a.render_without: lambda: self._workspace.render(with_references=False),
        }
        for action, act in triggers.items():
            action.triggered.connect(lambda _=False, act=act: act())  # type: ignore[attr-defined]
        section, timeline = window.edit.references, window.timeline
        section.add_asked.connect(self.add_frame)
        section.open_asked.connect(self.add_picture)
        section.edit_asked.connect(self._references.edit)
        section.replace_asked.connect(self.replace)
        section.menu_asked.connect(self.show_menu)
        timeline.remove_asked.connect(self.remove)
        timeline.menu_asked.connect(self.show_menu)
        self._references.fit_asked.connect(self._ask_fit)
        Session.references_shown.changed(session).connect(a.references.setChecked)
        Session.references_shown.changed(session).connect(lambda _: window.commands.enable())

    def enable(self) -> None:
        """Greys what makes no sense now."""
        a, project = self._window.actions_, self._project
        for action in (a.export_frame, a.add_reference, a.open_reference, a.edit_reference):
            action.setEnabled(project.clip is not None)
        for action in (
            a.replace_reference,
            a.reference_here,
            a.remove_reference,
            a.reference_before,
            a.reference_after,
            a.references,
            a.render_without,
        ):
            action.setEnabled(len(project.references) > 0)

    # -- making ----------------------------------------------------------------------------------------------

    def add_frame(self) -> None:
        """A reference of what the viewer shows, to be painted on."""
        self._for_region(lambda region, frame: self._references.add_frame(frame, region))

    def add_picture(self) -> None:
        """A reference of this frame from a picture that the user picks."""

        def pick(region: Region, frame: int) -> None:
            path = self._picked("Add a reference from a picture")
            if path is not None:
                self._references.add_file(path, frame, region)

        self._for_region(pick)

    def edit_frame(self) -> None:
        """Opens this frame's reference in the image editor; where there is none yet, makes one first."""
        here = self._here()
        if here is not None:
            self._references.edit(here)
        else:
            self._for_region(lambda region, frame: self._references.add_frame(frame, region, then_edit=True))

    def replace(self, reference: Reference) -> None:
        path = self._picked("Replace the reference's picture")
        if path is not None:
            self._workspace.guarded(lambda: self._references.replace_file(reference, path))

    def remove(self, reference: Reference) -> None:
        self._window.edit.references.remove(reference)

    def drop(self, paths: list[Path], frame: int) -> None:
        """Makes a reference of a dropped picture."""
        self._for_region(lambda region, _: self._references.add_file(paths[0], frame, region))
        if len(paths) > 1:
            self._workspace.tell(
                "One picture at a time", f"Only “{paths[0].name}” was taken; drop the others one by one."
            )

    def frame_of_drop(self, path: Path, at: QPoint) -> int | None:
        """The frame that a file dropped at a point of the window is a reference of; None: it is opened."""
        window, timeline = self._window, self._window.timeline
        timeline.show_drop(None)
        if self._project.clip is None or not is_picture_name(path):
            return None
        under = window.childAt(at)
        if under is window.viewer:
            return self._workspace.session.frame
        if under is None or under not in (timeline, timeline.parentWidget()):
            return None
        place = QPointF(timeline.mapFrom(window, at))
        frame = timeline.show_drop(place) if place.x() >= timeline_painting.GUTTER else None
        return self._workspace.session.frame if frame is None else frame

    # -- looking ---------------------------------------------------------------------------------------------

    def toggle_shown(self) -> None:
        session = self._workspace.session
        session.references_shown = not session.references_shown

    def show_menu(self, reference: Reference | None, at: QPoint) -> None:
        """What can be done with a reference; without one, how to add one."""
        a = self._window.actions_
        menu = QMenu(self._window)
        if reference is None:
            menu.addActions([a.add_reference, a.open_reference])
        else:
            menu.addAction(f"Go to frame {reference.frame}", lambda: self._show(reference))
            menu.addAction("Edit in the image editor", lambda: self._references.edit(reference))
            menu.addAction("Replace picture…", lambda: self.replace(reference))
            menu.addMenu(region_menu(self._workspace, reference, menu))
            here = menu.addAction(
                a.reference_here.text(), lambda: self._do(lambda: self._move_here(reference))
            )
            frame = self._workspace.session.frame
            here.setEnabled(frame != reference.frame and commands.can_move(self._project, reference, frame))
            menu.addSeparator()
            menu.addAction("Remove", lambda: self.remove(reference))
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(at)

    def _go(self, direction: int) -> None:
        """To the nearest reference before or after the playhead."""
        frame = self._workspace.session.frame
        ahead = [r for r in self._project.references if (r.frame - frame) * direction > 0]
        if ahead:
            self._show(min(ahead, key=lambda reference: abs(reference.frame - frame)))

    def _show(self, reference: Reference) -> None:
        self._workspace.session.reference = reference
        self._workspace.playback.stop()
        self._workspace.go_to(reference.frame)

    # -- asking ----------------------------------------------------------------------------------------------

    def export_frame(self) -> None:
        """Writes the frame to a place that the user picks, for any program."""
        frame = self._workspace.session.frame
        name = f"{self._workspace.documents.name}-frame-{frame:04d}.png"
        target, _ = QFileDialog.getSaveFileName(
            self._window, "Export this frame", str(Path(last_folder()) / name), "PNG picture (*.png)"
        )
        if target:
            path = Path(target)
            path = path if path.suffix.lower() == ".png" else path.with_name(path.name + ".png")
            if path == Path(target) or self._window.commands.may_replace(path):
                preferences().setValue("folder", str(path.parent))
                self._do(lambda: self._references.export_frame(frame, path))

    def choose_editor(self) -> None:
        dialog = EditorDialog(image_editor(), self._window)
        accepted, program = dialog.exec(), dialog.program.text()
        dialog.deleteLater()
        if accepted:
            set_image_editor(program)

    def _ask_fit(self, unfit: Unfit, answer: Callable[[Fit | None], object]) -> None:
        dialog = FitDialog(unfit, self._window)
        accepted, chosen = dialog.exec(), dialog.chosen
        dialog.deleteLater()
        answer(chosen if accepted else None)

    def _picked(self, title: str) -> Path | None:
        name, _ = QFileDialog.getOpenFileName(
            self._window, title, last_folder(), f"{_PICTURES};;All files (*)"
        )
        if not name:
            return None
        preferences().setValue("folder", str(Path(name).parent))
        return Path(name)

    def _for_region(self, act: Callable[[Region, int], object]) -> None:
        """Does it for the chosen region, or the one that the user names, at the playhead."""

        def run() -> None:
            regions, region = self._project.regions, self._workspace.session.region
            if not len(regions):
                raise RangeError("There is no region yet; paint what should change, then add its references.")
            if region is None:
                region = regions[0] if len(regions) == 1 else ask_which_region(self._project, self._window)
            if region is not None:
                act(region, self._workspace.session.frame)

        self._do(run)

    def _here(self) -> Reference | None:
        """The reference of this frame that is meant: the chosen one, else the chosen region's."""
        session = self._workspace.session
        found = self._project.references_at(session.frame)
        if session.reference in found:
            return session.reference
        if session.region is None:
            return found[0] if found else None
        return next((reference for reference in found if reference.region is session.region), None)

    def _with_chosen(self, command: Callable[[Reference], object]) -> None:
        def run() -> None:
            reference = self._workspace.session.reference or self._here()
            if reference is None:
                raise RangeError(
                    "No reference is chosen; click one on the timeline or in the Edit tab first."
                )
            command(reference)

        self._do(run)

    def _move_here(self, reference: Reference) -> None:
        commands.move_reference(self._project, reference, self._workspace.session.frame)

    def _do(self, command: Callable[[], object]) -> None:
        self._workspace.guarded(command)
