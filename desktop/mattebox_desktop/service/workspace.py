"""What the window works with: the open project, what is looked at, and the services behind them."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

from mattebox_media import ClipInfo, MediaError, OutputFormat
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QGuiApplication

from mattebox_desktop.model import commands
from mattebox_desktop.model.bindings import Bindings
from mattebox_desktop.model.errors import ModelError
from mattebox_desktop.model.method_choice import Known
from mattebox_desktop.model.project import Project, Take
from mattebox_desktop.model.reference import Reference
from mattebox_desktop.model.region import Region
from mattebox_desktop.model.session import Compare, Session
from mattebox_desktop.service.backend import BackendConnection
from mattebox_desktop.service.captions import CaptionOrder, Captions
from mattebox_desktop.service.documents import Documents
from mattebox_desktop.service.export import ExportRequest
from mattebox_desktop.service.exports import EXPORT_KEY, Exports
from mattebox_desktop.service.job_view import BackendStatus, ConnectionState, JobView
from mattebox_desktop.service.notice import Notice, Remedy, Severity
from mattebox_desktop.service.orders import Orders
from mattebox_desktop.service.playback import Playback
from mattebox_desktop.service.references import References
from mattebox_desktop.service.renders import Renders
from mattebox_desktop.service.screen import Screen


class Workspace(QObject):
    """The desktop without its widgets.

    Signals: `noticed(Notice)` and `settled(topic)` for the bar; `take_added(Take)`; `open_requested()` and
    `relink_requested()`, `recover_requested(path)` when a remedy needs a dialog or a question.
    """

    noticed = Signal(object)
    settled = Signal(str)
    take_added = Signal(object)
    open_requested = Signal()
    relink_requested = Signal()
    recover_requested = Signal(object)

    def __init__(self, backend: BackendConnection | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = Session()
        self.documents = Documents(self)
        self.playback = Playback(self)
        self.backend = BackendConnection(parent=self) if backend is None else backend
        self.backend.setParent(self)
        self.renders = Renders(self.backend, self)
        self.screen = Screen(self)
        self.exports = Exports(self)
        self.references = References(self)
        self.captions = Captions(self.backend, self)
        self.orders = Orders(self.documents, self.backend, self.renders, self._say, self.go_to, self)
        self._bindings = Bindings()
        self._connect()

    @property
    def project(self) -> Project:
        return self.documents.project

    def _connect(self) -> None:
        documents = self.documents
        documents.replaced.connect(self._project_replaced)
        documents.source_ready.connect(self._source_ready)
        documents.clip_failed.connect(self._clip_failed)
        documents.clip_missing.connect(self._clip_missing)
        documents.clip_differs.connect(self._clip_differs)
        documents.pictures_left_out.connect(self._pictures_left_out)
        documents.keeping_failed.connect(self._keeping_failed)
        documents.kept.connect(lambda: self.settled.emit("keeping"))
        self.playback.moved.connect(self._play_to)
        Session.frame.changed(self.session).connect(self.screen.request)
        self.screen.source_shown.connect(lambda: self.settled.emit("frame"))
        self.screen.source_failed.connect(self._frame_failed)
        self.screen.take_failed.connect(self._take_failed)
        self.exports.failed.connect(lambda what, why, topic: self._say(what, why, topic=topic))
        self.references.failed.connect(lambda what, why: self._say(what, why, topic="reference"))
        self.references.changed.connect(self._reference_changed)
        self.references.not_opened.connect(self._reference_not_opened)
        self.backend.changed.connect(self._backend_changed)
        self.orders.take_added.connect(self.take_added)
        self.orders.settled.connect(self.settled)
        self.renders.failed.connect(self._render_failed)
        self._project_replaced(documents.project)

    # -- looking ---------------------------------------------------------------------------------------------

    def go_to(self, frame: int) -> None:
        """Moves the playhead, within the clip."""
        clip = self.project.clip
        if clip is not None:
            self.session.frame = min(max(0, frame), clip.frame_count - 1)

    def step(self, frames: int) -> None:
        self.playback.stop()
        self.go_to(self.session.frame + frames)

    # -- making ----------------------------------------------------------------------------------------------

    def render(self, *, with_references: bool = True) -> None:
        """Sends the project as it is to be rendered; what is missing is said in the bar."""
        self.orders.render(with_references=with_references)

    @property
    def known(self) -> Known:
        """The backend's methods and models, as far as it has told of them."""
        return self.orders.known

    def export(self, target: Path, format_: OutputFormat, start: int, stop: int, take: Take | None) -> None:
        """Writes frames [start, stop) to a file in the background; progress is a row of the queue."""
        clip = commands.require_clip(self.project)
        request = ExportRequest(
            clip.path,
            None if take is None else take.path,
            0 if take is None else take.start,
            0 if take is None else take.stop,
            start,
            stop,
            target,
            format_,
            kept=(clip.path, *(other.path for other in self.project.takes)),
        )
        self.exports.start(request)

    def describe_source(self) -> None:
        """Fills “was” with what the source shows at the in point; asked again, stops."""
        self._describe(commands.describe_source_prompt)

    def describe_prompt(self) -> None:
        """Fills the prompt with what the source shows at the in point, as words to change; asked again,
        stops.
        """
        self._describe(commands.describe_prompt)

    def _describe(self, fill: Callable[[Project, str], None]) -> None:
        """fill: the command that takes the words; it also tells what is being described."""
        if self.captions.purpose is fill:
            self.captions.cancel()
            return
        project = self.project
        clip = commands.require_clip(project)
        self.settled.emit("caption")
        self.captions.describe(
            CaptionOrder(
                fill,
                clip.path,
                project.in_point,
                project.backbone,
                done=lambda text: project.changes.when_idle(lambda: fill(project, text)),
                failed=lambda why: self._say("The frame could not be described", str(why), topic="caption"),
            )
        )

    def cancel(self, key: str) -> None:
        """Cancels a row of the queue: a render or the export."""
        if key == EXPORT_KEY:
            self.exports.cancel()
        else:
            self.renders.cancel(key)

    @property
    def busy(self) -> list[str]:
        """What is under way and would be interrupted by closing, in words."""
        export = self.exports.running
        return [] if export is None else [f"the export of {export.target.name}"]

    def guarded(self, command: Callable[[], object]) -> bool:
        """Runs a command of the user's; an error of the model is said in the bar. Whether it went well."""
        try:
            command()
        except (ModelError, MediaError, OSError) as error:
            self._say("That did not work", str(error), topic="command")
            return False
        self.settled.emit("command")
        return True

    def close(self) -> None:
        """Ends every thread. The backend goes on for whoever else uses it."""
        self.playback.stop()
        self.renders.stop()
        self.captions.close()
        self.backend.close()
        self.renders.close()
        self.exports.close()
        self.references.close()
        self.screen.close()
        self.documents.close()

    def report(self, what: str) -> str:
        """Everything worth copying into a bug report."""
        clip = self.project.clip
        lines = [
            what,
            "",
            f"Python {platform.python_version()} on {platform.platform()}",
            f"Backend: {self.backend.status.words}. {self.backend.status.why}".strip(),
            ""
            if clip is None
            else f"Clip: {clip.path} ({clip.width}×{clip.height}, {clip.frame_count} frames)",
            "",
            "Backend log:",
            self.backend.log_tail() or "(empty)",
        ]
        return "\n".join(lines)

    # -- projects --------------------------------------------------------------------------------------------

    def _project_replaced(self, project: Project) -> None:
        self.playback.stop()
        self.captions.cancel()
        self.screen.clear()
        self.references.set_project(project)
        self.orders.forget_what_waits()
        self.session.region = self.session.reference = None
        self.session.compare = Compare.OFF
        self.session.frame = project.in_point
        if len(project.regions):
            self.session.region = project.regions[0]
        self._bindings.clear()
        self._bindings.add(project.regions.removed.connect(self._region_removed))
        self._bindings.add(project.references.removed.connect(self._reference_removed))
        self._bindings.add(Project.take_in_use.changed(project).connect(self._use_take))
        self._bindings.add(project.takes.changed.connect(lambda: self._use_take(project.take_in_use)))
        self._bindings.add(Project.clip.changed(project).connect(lambda _: self.orders.adopt()))
        for prop in (Project.in_point, Project.out_point):
            self._bindings.add(prop.changed(project).connect(lambda _: self._range_changed()))
        for topic in ("clip", "render", "command", "export", "take", "edit", "reference", "caption"):
            self.settled.emit(topic)
        self._use_take(project.take_in_use)
        self.orders.adopt()

    def _region_removed(self, index: int, region: Region) -> None:
        if self.session.region is region:
            regions = self.project.regions
            self.session.region = regions[min(index, len(regions) - 1)] if len(regions) else None

    def _reference_removed(self, _: int, reference: Reference) -> None:
        if self.session.reference is reference:
            self.session.reference = None

    def _reference_changed(self, reference: Reference) -> None:
        self.settled.emit("reference")
        self.session.reference = reference

    def _source_ready(self, _: ClipInfo) -> None:
        source = self.documents.source
        if source is None:
            return
        self.settled.emit("clip")
        self.screen.set_source(source)
        self._range_changed()
        self.screen.request(self.session.frame)

    def _play_to(self, frame: int) -> None:
        self.session.frame = frame

    def _range_changed(self) -> None:
        project = self.project
        if project.clip is not None:
            self.playback.set_range(project.in_point, project.out_point, project.clip.frame_rate)

    # -- takes -----------------------------------------------------------------------------------------------

    def _use_take(self, id_: str | None) -> None:
        self.settled.emit("take")
        self.screen.set_take(self.project.take(id_))

    def _take_failed(self, take: Take, error: Exception) -> None:
        self._say(
            f"{take.name} cannot be shown", str(error), Remedy("Render again", self.render), topic="take"
        )

    # -- what goes wrong -------------------------------------------------------------------------------------

    def tell(self, what: str, why: str) -> None:
        """Says in the bar what is worth knowing and needs nothing done."""
        self._say(what, why, severity=Severity.INFO, topic="command")

    def _say(
        self,
        what: str,
        why: str,
        remedy: Remedy | None = None,
        *,
        severity: Severity = Severity.ERROR,
        topic: str = "",
    ) -> None:
        report = self.report(f"{what}: {why}")
        self.noticed.emit(Notice(what, why, severity, remedy, report, topic))

    def offer_recovery(self) -> None:
        """Says so when a desktop that crashed left unsaved work."""
        left = self.documents.left_behind()
        if left:
            self._say(
                "Unsaved work was found",
                "Mattebox ended without saving it last time; File → Recover unsaved work finds it later too.",
                Remedy("Recover it", lambda: self.recover_requested.emit(left[0])),
                severity=Severity.INFO,
                topic="recovery",
            )

    def recover(self, path: Path) -> None:
        """Opens what was left behind, in place of the open project."""
        if self.guarded(lambda: self.documents.recover(path)):
            self.settled.emit("recovery")

    def _clip_failed(self, path: Path, error: Exception) -> None:
        self._say(
            f"“{path.name}” could not be opened",
            str(error),
            Remedy("Open another…", self.open_requested.emit),
            topic="clip",
        )

    def _clip_missing(self, _: object, error: Exception) -> None:
        remedy = Remedy("Find the clip…", self.relink_requested.emit)
        self._say("The project's clip could not be read", str(error), remedy, topic="clip")

    def _clip_differs(self, _: object) -> None:
        self._say(
            "The clip is not the one the project was made with",
            "It has the same size and length but other contents; check that the masks still fit.",
            severity=Severity.WARNING,
            topic="clip",
        )

    def _pictures_left_out(self, count: int) -> None:
        self._say(
            "Pictures were left out",
            f"The desktop holds no condition pictures yet: the {count} of this edit file stay in the file.",
            severity=Severity.WARNING,
            topic="edit",
        )

    def _reference_not_opened(self, path: Path) -> None:
        self._say(
            "No image editor was found",
            f"Choose one in the References menu, or open “{path}” yourself: what is saved there comes back.",
            Remedy("Copy the path", lambda: QGuiApplication.clipboard().setText(str(path))),
            severity=Severity.WARNING,
            topic="reference",
        )

    def _keeping_failed(self, error: Exception) -> None:
        self._say("Unsaved work is not protected", str(error), severity=Severity.WARNING, topic="keeping")

    def _frame_failed(self, error: Exception) -> None:
        self._say("A frame cannot be shown", str(error), topic="frame")

    def _backend_changed(self, status: BackendStatus) -> None:
        if status.state is ConnectionState.FAILED:
            remedy = Remedy("Start it again", self.backend.restart)
            self._say("The backend is not running", status.why, remedy, topic="backend")
        elif status.state is ConnectionState.READY:
            self.settled.emit("backend")

    def _render_failed(self, job: JobView) -> None:
        def say(log: str) -> None:
            report = self.report(f"The render failed: {job.error}") + f"\n\nJob log:\n{log or '(empty)'}"
            remedy = Remedy("Render again", self.render)
            self.noticed.emit(
                Notice("The render failed", job.error, Severity.ERROR, remedy, report, "render")
            )

        if self.backend.client is None:
            say("")
        else:
            self.renders.log(job.key, say)
