"""Opening and saving: which project is open, from which file, with which frames behind it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mattebox_media import ClipInfo, open_clip, pattern_of, plain_name
from PySide6.QtCore import QObject, QTimer, Signal

from mattebox_desktop.model import commands
from mattebox_desktop.model.errors import ProjectFileError
from mattebox_desktop.model.project import ClipRef, Project
from mattebox_desktop.model.project_file import SUFFIX, load_project, project_path, save_project
from mattebox_desktop.service.edit_files import EDIT_FILES, project_of_edit
from mattebox_desktop.service.frames import FrameSource
from mattebox_desktop.service.recovery import Recovery
from mattebox_desktop.service.worker import Worker

KEEP_ASIDE_MS = 10_000


class Documents(QObject):
    """Holds the open project and its clip's frames, and swaps both together.

    Signals: `replaced(Project)` when another project is open; `source_ready(ClipInfo)` when its clip can be
    read; `clip_failed(path, error)` when a clip cannot be opened, the old project staying as it was;
    `clip_missing(ClipRef, error)` when a project's own clip cannot be read; `clip_differs(ClipRef)` when it
    is not the one the project was made with; `pictures_left_out(count)` when an edit file has pictures that
    a project cannot hold; `keeping_failed(error)` when unsaved work cannot be written aside, `kept()` when it
    is safe again; `renamed()` when the file's name or whether it is saved changes.
    """

    replaced = Signal(object)
    source_ready = Signal(object)
    clip_failed = Signal(object, object)
    clip_missing = Signal(object, object)
    clip_differs = Signal(object)
    pictures_left_out = Signal(int)
    keeping_failed = Signal(object)
    kept = Signal()
    renamed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.project = Project()
        self.path: Path | None = None
        self.source: FrameSource | None = None
        self._candidate: FrameSource | None = None
        self._hasher = Worker("clip hash", self)
        self._recovery = Recovery()
        self._kept = True
        self._keeping_fails = False
        self._end_watch = self.project.changes.changed.connect(self._touched)
        self._keeper = QTimer(self)
        self._keeper.setInterval(KEEP_ASIDE_MS)
        self._keeper.timeout.connect(self.keep_aside)
        self._keeper.start()

    # -- opening ---------------------------------------------------------------------------------------------

    def open(self, path: Path) -> None:
        """Opens a project, or an edit file or a clip as a new project. A numbered picture, or a folder of
        them, stands for its sequence.

        Raises:
            ProjectFileError: the project or the edit cannot be read. What a clip's reader finds is told by
                `clip_failed`.
        """
        suffix = path.suffix.lower()
        if suffix == SUFFIX:
            self.open_project(path)
        elif suffix in EDIT_FILES:
            self._open_edit(path)
        else:
            self.open_clip(pattern_of(path) or path)

    def open_clip(self, path: Path) -> None:
        """Opens a clip; the project at hand stays until the clip has proved readable."""
        self._drop_candidate()
        source = self._candidate = FrameSource(path.absolute(), parent=self)
        source.opened.connect(lambda info: self._clip_opened(source, info))
        source.failed.connect(lambda error: self._clip_refused(source, error))
        source.start()

    def open_project(self, path: Path) -> None:
        """Raises ProjectFileError; the project at hand then stays."""
        self._install(load_project(path), path)

    def new(self) -> None:
        """An empty project without a clip."""
        self._install(Project(), None)

    def relink(self, path: Path) -> None:
        """Gives the open project its clip back, from another place.

        Raises:
            MediaError: the file is no clip.
            ProjectFileError: it is another clip: its size or length differs.
        """
        clip = commands.require_clip(self.project)
        path = pattern_of(path) or path
        with open_clip(path) as reader:
            info = reader.info
        if (info.width, info.height, info.frame_count) != (clip.width, clip.height, clip.frame_count):
            raise ProjectFileError(
                path,
                f"“{path.name}” is {_size(info)}, but this project was made with a clip of "
                f"{clip.width}×{clip.height} with {clip.frame_count} frames; choose the same clip.",
            )
        with self.project.changes.transaction("Find clip", undoable=False):
            self.project.clip = replace(clip, path=path.absolute())
        self._open_source()

    # -- saving ----------------------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        return self.project.changes.dirty

    @property
    def name(self) -> str:
        """For the window's title."""
        if self.path is not None:
            return self.path.stem
        return "Untitled" if self.project.clip is None else plain_name(self.project.clip.path)

    def save(self, path: Path) -> None:
        """Raises ProjectFileError; the old file then stands as it stood."""
        path = project_path(path)
        save_project(self.project, path)
        self.path = path
        self.project.changes.mark_saved()
        self._recovery.discard()
        self._kept, self._keeping_fails = True, False
        self.kept.emit()
        self.renamed.emit()

    def keep_aside(self) -> None:
        """Writes unsaved work aside, unless nothing happened since or a stroke is under way."""
        if self._kept or self.project.changes.busy or not self.dirty:
            return
        try:
            self._recovery.keep(self.project)
        except ProjectFileError as error:
            if not self._keeping_fails:
                self.keeping_failed.emit(error)
            self._keeping_fails = True
        else:
            self._kept, self._keeping_fails = True, False
            self.kept.emit()

    def left_behind(self) -> list[Path]:
        """Unsaved projects of desktops that crashed."""
        return self._recovery.left_behind()

    def recover(self, path: Path) -> None:
        """Opens what a crashed desktop left, as unsaved work. Its copy goes once ours is written.

        Raises:
            ProjectFileError: the copy cannot be read; it stays.
        """
        project = load_project(path)
        project.changes.mark_unsaved()
        self._install(project, None)
        self._kept = False
        self.keep_aside()
        if self._kept:
            self._recovery.forget(path)

    def close(self) -> None:
        """Ends the threads; unsaved work was asked about before."""
        self._keeper.stop()
        self._drop_candidate()
        if self.source is not None:
            self.source.close()
        self._hasher.close()
        self._recovery.discard()

    # -- inside ----------------------------------------------------------------------------------------------

    def _open_edit(self, path: Path) -> None:
        opened = project_of_edit(path)
        self._install(opened.project, None)
        if opened.pictures:
            self.pictures_left_out.emit(opened.pictures)

    def _clip_opened(self, source: FrameSource, info: ClipInfo) -> None:
        if source is not self._candidate:
            return
        self._candidate = None
        project = Project()
        clip = ClipRef(info.path, info.width, info.height, info.frame_count, info.fps)
        with project.changes.transaction("Open clip", undoable=False):
            commands.set_clip(project, clip)
        project.changes.mark_saved()  # a clip that was only looked at is nobody's work
        self._install(project, None, source)
        self.source_ready.emit(info)

    def _clip_refused(self, source: FrameSource, error: Exception) -> None:
        if source is self._candidate:
            self._drop_candidate()
            self.clip_failed.emit(source.path, error)

    def _drop_candidate(self) -> None:
        if self._candidate is not None:
            candidate, self._candidate = self._candidate, None
            candidate.close()
            candidate.deleteLater()

    def _install(self, project: Project, path: Path | None, source: FrameSource | None = None) -> None:
        if source is None:
            self._drop_candidate()
        self._end_watch()
        self._close_source()
        self._recovery.discard()
        self.project, self.path, self._kept = project, path, True
        self._end_watch = project.changes.changed.connect(self._touched)
        self.source = source
        self.replaced.emit(project)
        self.renamed.emit()
        if source is not None:
            self._hash()
        elif project.clip is not None:
            self._open_source()

    def _open_source(self) -> None:
        clip = commands.require_clip(self.project)
        self._close_source()
        source = self.source = FrameSource(clip.path, parent=self)
        source.opened.connect(lambda info: self._source_opened(source, info))
        source.failed.connect(lambda error: self._source_failed(source, error))
        source.start()

    def _source_opened(self, source: FrameSource, info: ClipInfo) -> None:
        clip = self.project.clip
        if source is not self.source or clip is None:
            return
        if (info.width, info.height, info.frame_count) != (clip.width, clip.height, clip.frame_count):
            self._close_source()
            self.clip_missing.emit(
                clip,
                ProjectFileError(
                    clip.path,
                    f"“{clip.path.name}” is now {_size(info)}, but this project was made with "
                    f"{clip.width}×{clip.height} and {clip.frame_count} frames; "
                    "choose the clip it was made with.",
                ),
            )
            return
        self.source_ready.emit(info)
        self._hash()

    def _source_failed(self, source: FrameSource, error: Exception) -> None:
        clip = self.project.clip
        if source is self.source and source.info is None and clip is not None:
            self._close_source()
            self.clip_missing.emit(clip, error)

    def _close_source(self) -> None:
        if self.source is not None:
            self.source.close()
            self.source.deleteLater()
            self.source = None

    def _hash(self) -> None:
        project, clip = self.project, self.project.clip
        if clip is None:
            return
        self._hasher.submit(
            lambda: _content_hash(clip.path, self._hasher),
            lambda found: self._hashed(project, clip, found),
            lambda _: None,
        )

    def _hashed(self, project: Project, clip: ClipRef, found: str) -> None:
        project.changes.when_idle(lambda: self._identify(project, clip, found))

    def _identify(self, project: Project, clip: ClipRef, found: str) -> None:
        if project is not self.project or project.clip is None:
            return
        if not clip.content_hash:
            clean = not project.changes.dirty
            with project.changes.transaction("Identify clip", undoable=False):
                project.clip = replace(project.clip, content_hash=found)
            if clean:
                project.changes.mark_saved()
        elif clip.content_hash != found:
            self.clip_differs.emit(clip)

    def _touched(self) -> None:
        self._kept = False
        self.renamed.emit()


def _size(info: ClipInfo) -> str:
    return f"{info.width}×{info.height} with {info.frame_count} frames"


def _content_hash(path: Path, worker: Worker) -> str:
    with open_clip(path) as reader:
        return reader.content_hash(worker.check)
