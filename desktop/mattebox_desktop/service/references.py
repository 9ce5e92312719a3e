"""References on their way in and out: a frame to an image editor, and every saved version back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mattebox_media import MediaError
from mattebox_proto.atomic_file import replacing
from PySide6.QtCore import QObject, Signal

from mattebox_desktop.model import reference_commands as commands
from mattebox_desktop.model.commands import require_clip
from mattebox_desktop.model.errors import ModelError
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.project_file import png
from mattebox_desktop.model.reference import Picture, Reference
from mattebox_desktop.model.region import Region
from mattebox_desktop.service.export import spare
from mattebox_desktop.service.image_editor import open_in_editor
from mattebox_desktop.service.picture_watch import PictureWatch
from mattebox_desktop.service.pixels import Fit
from mattebox_desktop.service.reference_reading import (
    Unfit,
    frame_in_use,
    picture_of_file,
    picture_of_frame,
    source_frame,
)
from mattebox_desktop.service.work_files import work_file, write_work_file
from mattebox_desktop.service.worker import Worker

Put = Callable[[Picture], Reference]


class References(QObject):
    """Makes and changes the references of the open project; files and frames are read in a thread of its own.

    Signals: `changed(Reference)` when one was made or got a picture; `fit_asked(Unfit, answer)`, where
    `answer` is to be called with a `Fit`, or with None to leave everything as it is; `failed(what, why)` in
    words; `not_opened(Path)` when no program took the picture to edit.
    """

    changed = Signal(object)
    fit_asked = Signal(object, object)
    failed = Signal(str, str)
    not_opened = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._project = Project()
        self._worker = Worker("references", self)
        self._watch = PictureWatch(self)
        self._watch.saved.connect(self._saved)
        self._watch.lost.connect(self._lost)
        self._ids: dict[Path, str] = {}
        """Of the reference that each watched file is of."""
        self._fits: dict[str, dict[tuple[int, int], Fit]] = {}
        """By a reference's id and a size: what was answered, for the next time that it is saved."""

    def set_project(self, project: Project) -> None:
        """Looks after another project; what was on its way for the one before is dropped.

        Pictures that are still open in an editor from the last time come back when they are saved.
        """
        self._project = project
        self._watch.clear()
        self._ids.clear()
        self._fits.clear()
        for reference in project.references:
            path = work_file(project, reference)
            if path.is_file():
                self._ids[path] = reference.id
                self._watch.watch(path)

    def close(self) -> None:
        """Ends the thread."""
        self._watch.clear()
        self._worker.close()

    # -- in --------------------------------------------------------------------------------------------------

    def add_frame(self, frame: int, region: Region, *, then_edit: bool = False) -> None:
        """Makes a reference of what is in use at that frame, to be painted on.

        Raises RangeError for a frame outside the clip.
        """
        project, place = self._project, frame_in_use(self._project, frame)

        def put(picture: Picture) -> Reference:
            made = commands.add_reference(project, frame, region, picture)
            if then_edit:
                self.edit(made)
            return made

        self._worker.submit(
            lambda: picture_of_frame(place),
            lambda picture: self._put(project, put, picture),
            lambda error: self._fail("The frame could not be read", error),
        )

    def add_file(self, path: Path, frame: int, region: Region) -> None:
        """Makes a reference of the picture in a file. Raises RangeError for a frame outside the clip."""
        project = self._project
        self._bring(path, frame, lambda picture: commands.add_reference(project, frame, region, picture))

    def replace_file(self, reference: Reference, path: Path) -> None:
        """Gives a reference the picture in a file."""
        self._bring(path, reference.frame, self._replacing(reference))

    # -- out -------------------------------------------------------------------------------------------------

    def export_frame(self, frame: int, target: Path) -> None:
        """Writes what is in use at that frame as an 8-bit PNG.

        Raises:
            RangeError: the frame is outside the clip.
            MediaError: the target is the project's clip or one of its takes.
        """
        project = self._project
        place, clip = frame_in_use(project, frame), require_clip(project)
        spare((clip.path, *(take.path for take in project.takes)), target)

        def write() -> None:
            data = png(place.read())
            with replacing(target) as file:
                file.write(data)

        self._worker.submit(
            write, lambda _: None, lambda error: self._fail("The frame was not exported", error)
        )

    def edit(self, reference: Reference) -> None:
        """Opens a reference's picture in the image editor; every version that is saved there comes back."""
        project, picture = self._project, reference.picture
        path = work_file(project, reference)
        ids = {other.id for other in project.references}
        self._worker.submit(
            lambda: write_work_file(path, picture, ids),
            lambda _: self._open(project, reference, path),
            lambda error: self._fail("The picture was not opened", error),
        )

    def _open(self, project: Project, reference: Reference, path: Path) -> None:
        if project is not self._project:
            return
        earlier = [other for other, id_ in self._ids.items() if id_ == reference.id and other != path]
        for other in earlier:  # it stood at another frame then
            self._watch.forget(other)
            del self._ids[other]
        self._ids[path] = reference.id
        self._watch.watch(path)
        if not open_in_editor(path):
            self.not_opened.emit(path)

    # -- coming back -----------------------------------------------------------------------------------------

    def _saved(self, path: Path) -> None:
        reference = self._reference_of(path)
        if reference is None:
            self.failed.emit(
                "A saved picture has no reference any more",
                f"“{path.name}” was saved, but its reference or its region was deleted; undo brings it back, "
                "then save the picture again.",
            )
            return
        self._bring(path, reference.frame, self._replacing(reference), remembered_for=reference.id)

    def _lost(self, path: Path) -> None:
        reference = self._reference_of(path)
        if reference is not None:
            self.failed.emit(
                "A picture was deleted while it was being edited",
                f"“{path.name}” is gone. {reference.words} keeps its last picture; open it in the image "
                "editor again to go on.",
            )

    def _reference_of(self, path: Path) -> Reference | None:
        id_ = self._ids.get(path)
        return next((reference for reference in self._project.references if reference.id == id_), None)

    def _replacing(self, reference: Reference) -> Put:
        project = self._project

        def put(picture: Picture) -> Reference:
            if not picture.same_pixels(reference.picture):
                commands.replace_picture(project, reference, picture)
            return reference

        return put

    def _bring(self, path: Path, frame: int, put: Put, *, remembered_for: str = "") -> None:
        """Reads a picture and puts it there, once it is said how it is to fit where it has another size.

        remembered_for: the id of the reference for which the answer counts the next time too.
        """
        project, source = self._project, source_frame(self._project, frame)
        shape = require_clip(project).shape
        fits = dict(self._fits.get(remembered_for, {}))

        def read(found: Picture | Unfit) -> None:
            if isinstance(found, Picture):
                self._put(project, put, found)
            elif project is self._project:
                project.changes.when_idle(lambda: self.fit_asked.emit(found, answer_to(found)))

        def answer_to(unfit: Unfit) -> Callable[[Fit | None], None]:
            def answer(fit: Fit | None) -> None:
                if fit is None:
                    return
                if remembered_for:
                    self._fits.setdefault(remembered_for, {})[unfit.size] = fit
                self._put(project, put, unfit.choices[fit])

            return answer

        self._worker.submit(
            lambda: picture_of_file(path, source, shape, fits),
            read,
            lambda error: self._fail("The picture was not taken", error),
        )

    def _put(self, project: Project, put: Put, picture: Picture) -> None:
        """Changes the project, when the user's hand is off it."""

        def change() -> None:
            if project is not self._project:
                return
            try:
                reference = put(picture)
            except ModelError as error:
                self._fail("The picture was not taken", error)
            else:
                self.changed.emit(reference)

        project.changes.when_idle(change)

    def _fail(self, what: str, error: Exception) -> None:
        if not isinstance(error, (ModelError, MediaError, OSError)):
            raise error
        self.failed.emit(what, str(error))
