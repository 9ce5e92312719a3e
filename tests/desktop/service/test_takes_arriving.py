"""Which project gets a take, and when: a real server on a socket whose jobs end when the test says so."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
from mattebox_desktop.model import commands
from mattebox_desktop.model.project import Project, Take
from mattebox_desktop.model.project_file import load_project
from mattebox_desktop.service.backend import BackendConnection
from mattebox_desktop.service.job_view import ConnectionState, JobState
from mattebox_desktop.service.workspace import Workspace
from mattebox_media import open_clip, write_clip
from mattebox_proto.client import Client
from mattebox_proto.mattebox.v1 import clips_pb2, jobs_pb2
from pytestqt.qtbot import QtBot

HEIGHT, WIDTH, FRAMES = 32, 48, 6
SOON = 20_000  # milliseconds

NewWorkspace = Callable[[], Workspace]


def video(path: Path, value: int) -> Path:
    write_clip(path, (np.full((HEIGHT, WIDTH, 3), value, np.uint8) for _ in range(FRAMES)), fps=Fraction(24))
    return path


class JobBook:
    """The backend's jobs: they run until `end` is called. Every take shows the same video."""

    def __init__(self, take: Path) -> None:
        self.take = take
        self.jobs: dict[str, jobs_pb2.Job] = {}
        self.changed = threading.Condition()
        self.shelf_open = threading.Event()
        self.shelf_open.set()
        self.broken_watches = 0
        self.broken_cancels = 0

    @property
    def answers(self) -> dict[str, Any]:
        return {
            "Open": lambda r, c: clips_pb2.Clip(id=hash_of(Path(r.path))),
            "Submit": lambda r, c: self.begin(r.edit.clip),
            "Get": self.get,
            "List": lambda r, c: jobs_pb2.ListJobsResponse(jobs=self.unfinished()),
            "Watch": self.watch,
            "Cancel": self.cancel,
            "GetTake": self.get_take,
        }

    def begin(self, clip: str) -> jobs_pb2.Job:
        job = jobs_pb2.Job(id=f"job{len(self.jobs)}", state=jobs_pb2.JOB_STATE_RUNNING, clip=clip)
        self.jobs[job.id] = job
        return job

    def end(self, job: str, state: jobs_pb2.JobState.ValueType = jobs_pb2.JOB_STATE_DONE) -> jobs_pb2.Job:
        with self.changed:
            take = job if state == jobs_pb2.JOB_STATE_DONE else ""
            self.jobs[job].MergeFrom(jobs_pb2.Job(state=state, take=take))
            self.changed.notify_all()
        return self.jobs[job]

    def unfinished(self) -> list[jobs_pb2.Job]:
        return [job for job in self.jobs.values() if job.state == jobs_pb2.JOB_STATE_RUNNING]

    def get(self, request: jobs_pb2.GetJobRequest, context: grpc.ServicerContext) -> jobs_pb2.Job:
        if request.job not in self.jobs:
            context.abort(grpc.StatusCode.NOT_FOUND, "There is no such job.")
        return self.jobs[request.job]

    def get_take(self, request: jobs_pb2.GetTakeRequest, _: grpc.ServicerContext) -> jobs_pb2.Take:
        self.shelf_open.wait(20)
        job = self.jobs[request.take]
        return jobs_pb2.Take(id=job.take, job=job.id, clip=job.clip, stop=FRAMES, path=str(self.take))

    def watch(
        self, request: jobs_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[jobs_pb2.JobEvent]:
        job = self.jobs[request.job]
        yield jobs_pb2.JobEvent(sequence=1, state=jobs_pb2.JOB_STATE_RUNNING, job=job)
        if self.broken_watches:
            self.broken_watches -= 1
            context.abort(grpc.StatusCode.INTERNAL, "The watch broke.")
        with self.changed:
            while job.state == jobs_pb2.JOB_STATE_RUNNING and context.is_active():
                self.changed.wait(0.05)
        yield jobs_pb2.JobEvent(sequence=2, state=job.state, job=job)

    def cancel(self, request: jobs_pb2.CancelRequest, context: grpc.ServicerContext) -> jobs_pb2.Job:
        if self.broken_cancels:
            self.broken_cancels -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "Gone.")
        return self.end(request.job, jobs_pb2.JOB_STATE_CANCELLED)


def hash_of(path: Path) -> str:
    with open_clip(path) as reader:
        return reader.content_hash()


@pytest.fixture(scope="session")
def proto_tests() -> ModuleType:
    """The contract tests' tiny backend."""
    source = Path(__file__).parents[2] / "proto" / "conftest.py"
    spec = importlib.util.spec_from_file_location("proto_test_backend", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["proto_test_backend"] = module  # a dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def book(tmp_path: Path) -> JobBook:
    return JobBook(video(tmp_path / "take.mkv", 200))


@pytest.fixture
def new_workspace(
    book: JobBook, proto_tests: ModuleType, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NewWorkspace]:
    """Makes desktops without a window that talk to one backend."""
    monkeypatch.setenv("MATTEBOX_HOME", str(tmp_path / "home"))
    tiny = proto_tests.TinyBackend(f"unix:{tmp_path}/backend.sock", answers=book.answers)
    made: list[Workspace] = []

    def make() -> Workspace:
        workspace = Workspace(BackendConnection(lambda _: Client.connect(tiny.endpoint)))
        made.append(workspace)
        workspace.backend.start()
        qtbot.waitUntil(lambda: workspace.backend.status.state is ConnectionState.READY, timeout=SOON)
        return workspace

    yield make
    for workspace in made:
        workspace.close()
    tiny.stop()


@pytest.fixture
def workspace(new_workspace: NewWorkspace) -> Workspace:
    return new_workspace()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return video(tmp_path / "clip.mkv", 90)


def open_and_identify(workspace: Workspace, path: Path, qtbot: QtBot) -> Project:
    before = workspace.project
    workspace.documents.open(path)
    qtbot.waitUntil(
        lambda: (
            workspace.project is not before
            and workspace.project.clip is not None
            and workspace.project.clip.content_hash != ""
        ),
        timeout=SOON,
    )
    return workspace.project


def render(workspace: Workspace, qtbot: QtBot) -> str:
    """Submits an edit of the open project; returns the job's id."""
    project = workspace.project
    if not len(project.regions):
        region = commands.add_region(project, "left", "a star")
        commands.fill_mask(project, region, 0)
    workspace.render()
    qtbot.waitUntil(lambda: bool(project.awaited_jobs), timeout=SOON)
    return project.awaited_jobs[-1]


def wait_for_take(workspace: Workspace, job: str, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: workspace.project.take(job) is not None, timeout=SOON)
    assert workspace.project.awaited_jobs == ()


def test_a_take_that_comes_while_the_pen_is_down_is_no_part_of_the_stroke(
    workspace: Workspace, book: JobBook, clip: Path, qtbot: QtBot
) -> None:
    project = open_and_identify(workspace, clip, qtbot)
    job = render(workspace, qtbot)
    project.changes.begin("Brush stroke")
    with qtbot.waitSignal(workspace.renders.take_ready, timeout=SOON):
        book.end(job)
    assert len(project.takes) == 0
    project.changes.abort()
    assert project.take(job) is not None


def test_a_take_waits_for_its_project_while_another_one_is_open(
    workspace: Workspace, book: JobBook, clip: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    open_and_identify(workspace, clip, qtbot)
    job = render(workspace, qtbot)
    saved = tmp_path / "saved.mattebox"
    workspace.documents.save(saved)
    other = open_and_identify(workspace, clip, qtbot)
    with qtbot.waitSignal(workspace.renders.take_ready, timeout=SOON):
        book.end(job)
    assert len(other.takes) == 0
    open_and_identify(workspace, saved, qtbot)
    wait_for_take(workspace, job, qtbot)
    assert [view.state for view in workspace.renders.jobs] == [JobState.DONE], "one job, one row"


def test_a_job_that_ended_while_the_desktop_was_closed_brings_its_take(
    new_workspace: NewWorkspace, book: JobBook, clip: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    first = new_workspace()
    open_and_identify(first, clip, qtbot)
    job = render(first, qtbot)
    saved = tmp_path / "saved.mattebox"
    first.documents.save(saved)
    first.close()
    book.end(job)
    second = new_workspace()
    open_and_identify(second, saved, qtbot)
    wait_for_take(second, job, qtbot)


def test_a_running_job_of_a_clip_is_taken_up_once_the_clip_is_known(
    workspace: Workspace, book: JobBook, clip: Path, qtbot: QtBot
) -> None:
    job = book.begin(hash_of(clip)).id
    book.begin("another clip's hash")
    project = open_and_identify(workspace, clip, qtbot)
    qtbot.waitUntil(lambda: project.awaited_jobs == (job,), timeout=SOON)
    book.end(job)
    wait_for_take(workspace, job, qtbot)


def test_clearing_the_queue_does_not_lose_a_take_on_its_way(
    workspace: Workspace, book: JobBook, clip: Path, qtbot: QtBot
) -> None:
    open_and_identify(workspace, clip, qtbot)
    job = render(workspace, qtbot)
    book.shelf_open.clear()
    book.end(job)
    qtbot.waitUntil(lambda: workspace.renders.jobs[0].state is JobState.DONE, timeout=SOON)
    workspace.renders.forget_ended()
    book.shelf_open.set()
    wait_for_take(workspace, job, qtbot)


def test_a_failed_job_is_awaited_no_more(
    workspace: Workspace, book: JobBook, clip: Path, qtbot: QtBot
) -> None:
    project = open_and_identify(workspace, clip, qtbot)
    job = render(workspace, qtbot)
    book.end(job, jobs_pb2.JOB_STATE_FAILED)
    qtbot.waitUntil(lambda: project.awaited_jobs == (), timeout=SOON)
    assert workspace.renders.jobs[0].state is JobState.FAILED


def test_a_job_whose_watch_broke_is_taken_up_again(
    workspace: Workspace, book: JobBook, clip: Path, qtbot: QtBot
) -> None:
    open_and_identify(workspace, clip, qtbot)
    book.broken_watches = 1
    with qtbot.waitSignal(workspace.renders.failed, timeout=SOON):
        job = render(workspace, qtbot)
    workspace.backend.lost()
    qtbot.waitUntil(lambda: workspace.renders.jobs[0].state is JobState.RUNNING, timeout=SOON)
    book.end(job)
    wait_for_take(workspace, job, qtbot)


def test_a_cancel_that_did_not_reach_the_backend_is_sent_again(
    workspace: Workspace, book: JobBook, clip: Path, qtbot: QtBot
) -> None:
    open_and_identify(workspace, clip, qtbot)
    states: list[JobState] = []
    workspace.renders.job_changed.connect(lambda view: states.append(view.state))
    job = render(workspace, qtbot)
    book.broken_cancels = 1
    workspace.cancel(workspace.renders.jobs[0].key)
    qtbot.waitUntil(lambda: book.jobs[job].state == jobs_pb2.JOB_STATE_CANCELLED, timeout=SOON)
    qtbot.waitUntil(lambda: workspace.renders.jobs[0].state is JobState.CANCELLED, timeout=SOON)
    assert JobState.FAILED not in states


def test_a_project_that_was_left_changes_nothing_on_screen(
    workspace: Workspace, book: JobBook, clip: Path, qtbot: QtBot
) -> None:
    left = open_and_identify(workspace, clip, qtbot)
    project = open_and_identify(workspace, clip, qtbot)
    take = Take("mine", "Take 1", book.take, 0, FRAMES, 0, "a star", "2026-01-01T00:00:00Z")
    commands.add_take(project, take)
    commands.use_take(project, take)
    workspace.go_to(1)
    workspace.session.frame = 2
    commands.add_take(left, Take("late", "Take 1", book.take, 0, FRAMES, 0, "a star", "2026-01-01T00:00:00Z"))
    shown: list[tuple[int, bool]] = []
    workspace.screen.frame_ready.connect(lambda index, _, front: shown.append((index, front is not None)))
    workspace.go_to(3)
    qtbot.waitUntil(lambda: any(index == 3 for index, _ in shown), timeout=SOON)
    assert shown[-1] == (3, True)


def test_awaited_jobs_are_kept_in_the_file(
    workspace: Workspace, clip: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    open_and_identify(workspace, clip, qtbot)
    job = render(workspace, qtbot)
    assert workspace.documents.dirty
    workspace.documents.save(tmp_path / "saved.mattebox")
    assert load_project(tmp_path / "saved.mattebox").awaited_jobs == (job,)


def test_closing_ends_a_call_that_the_backend_does_not_answer(
    workspace: Workspace, book: JobBook, clip: Path, qtbot: QtBot
) -> None:
    job = book.begin(hash_of(clip)).id
    waiting = threading.Event()

    def listen(client: Client) -> None:
        waiting.set()
        for _ in client.watch_once(jobs_pb2.WatchRequest(job=job)):
            pass

    workspace.backend.call(listen, lambda _: None, lambda _: None)
    assert waiting.wait(20)
    workspace.close()
    assert "backend calls" not in [thread.name for thread in threading.enumerate()]
