"""From the Render button to the take in the project that asked for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from mattebox_desktop.model import commands
from mattebox_desktop.model.edit_request import edit_request, used_references
from mattebox_desktop.model.errors import (
    FirstReferenceError,
    IncompleteEditError,
    ReferencesUnusedError,
    WrongModelError,
)
from mattebox_desktop.model.method_choice import AUTO, Known
from mattebox_desktop.model.project import Project, Take
from mattebox_desktop.service.backend import BackendConnection
from mattebox_desktop.service.documents import Documents
from mattebox_desktop.service.job_view import BackendStatus, ConnectionState, JobView, TakeView
from mattebox_desktop.service.notice import Remedy, Say, Severity
from mattebox_desktop.service.renders import Renders


class Orders(QObject):
    """Sends the open project to be rendered, and puts each take into the project that it belongs to.

    Signals: `take_added(Take)` to the open project; `settled(topic)` when a notice no longer holds.

    Args:
        say: says in the bar what is missing. go_to: moves the playhead.
    """

    take_added = Signal(object)
    settled = Signal(str)

    def __init__(
        self,
        documents: Documents,
        backend: BackendConnection,
        renders: Renders,
        say: Say,
        go_to: Callable[[int], object],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._documents, self._backend, self._renders = documents, backend, renders
        self._say, self._go_to = say, go_to
        self._sent: dict[str, Project] = {}
        """By the queue's key, until the backend has named the job."""
        self._waits_for_methods = False
        backend.changed.connect(self._backend_changed)
        backend.methods.connect(lambda _: self._render_what_waits())
        renders.job_changed.connect(self._job_changed)
        renders.take_ready.connect(self._take_ready)
        renders.failed.connect(lambda job: self._sent.pop(job.key, None))
        renders.came_to_nothing.connect(lambda job: self._stop_awaiting(self._project, job.id))

    @property
    def _project(self) -> Project:
        return self._documents.project

    @property
    def known(self) -> Known:
        """The backend's methods and models, as far as it has told of them."""
        return Known(self._backend.known_methods, self._backend.known_models)

    # -- out -------------------------------------------------------------------------------------------------

    def render(self, *, with_references: bool = True) -> None:
        """Sends the project as it is to be rendered; what is missing is said in the bar."""
        project = self._project
        if with_references and used_references(project) and not self._backend.known_methods:
            # Which method takes references, only the backend knows.
            self._waits_for_methods = True
            self._backend.start()
            return
        try:
            request = edit_request(project, self._documents.name, self.known, with_references=with_references)
        except IncompleteEditError as error:
            self._not_ready(project, error)
            return
        self.settled.emit("render")
        self._sent[self._renders.submit(request).key] = project
        if request.remarks:
            what, why = "The references of this render", " ".join(request.remarks)
            self._say(what, why, severity=Severity.INFO, topic="render")

    def forget_what_waits(self) -> None:
        """Another project is open: what was asked for one before is not rendered any more."""
        self._waits_for_methods = False

    def _render_what_waits(self) -> None:
        if self._waits_for_methods:
            self._waits_for_methods = False
            self.render()

    def _not_ready(self, project: Project, error: IncompleteEditError) -> None:
        remedy = None
        if isinstance(error, ReferencesUnusedError) and error.auto_helps:
            remedy = Remedy("Choose Auto", lambda: commands.set_method(project, AUTO))
        elif isinstance(error, WrongModelError) and error.fitting is not None:
            model = error.fitting
            remedy = Remedy(f"Choose {model}", lambda: commands.set_backbone(project, model))
        elif isinstance(error, FirstReferenceError):
            frame = error.frame
            remedy = Remedy(f"Go to frame {frame}", lambda: self._go_to(frame))
        self._say("Not ready to render", str(error), remedy, severity=Severity.WARNING, topic="render")

    # -- back ------------------------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Looks at the backend for renders that an earlier desktop or project began for what is open."""
        project, clip = self._project, self._project.clip
        if clip is None or not clip.content_hash or self._backend.status.state is not ConnectionState.READY:
            return

        def wanted(job: str) -> bool:
            if project is self._project:
                self._await_take(project, job)
            return project is self._project

        self._renders.adopt(clip.content_hash, project.awaited_jobs, wanted)

    def _backend_changed(self, status: BackendStatus) -> None:
        if status.state is ConnectionState.FAILED:
            self._waits_for_methods = False
        elif status.state is ConnectionState.READY:
            self.adopt()

    def _job_changed(self, job: JobView) -> None:
        """Once the backend has named a job, its project remembers it: the take may come much later."""
        if job.id and job.key in self._sent:
            self._await_take(self._sent.pop(job.key), job.id)

    @staticmethod
    def _await_take(project: Project, job: str) -> None:
        project.changes.when_idle(lambda: commands.await_take(project, job))

    @staticmethod
    def _stop_awaiting(project: Project, job: str) -> None:
        project.changes.when_idle(lambda: commands.stop_awaiting(project, job))

    def _take_ready(self, job: JobView, view: TakeView, path: Path) -> None:
        project = self._project
        project.changes.when_idle(lambda: self._add_take(project, job, view, path))

    def _add_take(self, project: Project, job: JobView, view: TakeView, path: Path) -> None:
        """Another project's take is left to the backend: that project asks for it when it is open again."""
        if job.id not in project.awaited_jobs:
            return
        commands.stop_awaiting(project, job.id)
        if project.take(view.id) is not None:
            return
        take = Take(
            id=view.id,
            name=project.next_take_name,
            path=path,
            start=view.start,
            stop=view.stop,
            seed=view.seed,
            prompt=view.prompt,
            made=view.made,
            report=view.report,
        )
        commands.add_take(project, take)
        if project is self._project:
            self.take_added.emit(take)
