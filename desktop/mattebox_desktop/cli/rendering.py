"""From an edit file to a take: checked before a backend is asked for, watched, cancelled with Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import typer
from mattebox_media import ClipInfo, Frame, open_clip
from mattebox_media.writer import write_like
from mattebox_proto.client import Client
from mattebox_proto.editfile import EditFile, edit_message, load
from mattebox_proto.errors import BackendError, Cancelled, from_kind
from mattebox_proto.mattebox.v1 import clips_pb2, edit_pb2, jobs_pb2
from mattebox_proto.watch import ENDED

from mattebox_desktop.cli.failures import INTERRUPTED
from mattebox_desktop.cli.progress import Bar, bar, counted
from mattebox_desktop.service.edit_pictures import read_image, read_mask, reference_reader


@dataclass(frozen=True, slots=True)
class PreparedEdit:
    """An edit that is fit to be submitted, but for the clip's id, which the backend gives."""

    path: Path
    file: EditFile
    source: Path
    info: ClipInfo
    message: edit_pb2.Edit


def prepare(path: Path) -> PreparedEdit:
    """Reads the edit file and everything it names. Raises InvalidEditFile, MediaError."""
    file = load(path)
    folder = path.absolute().parent
    source = folder / file.source
    with open_clip(source) as clip:
        info = clip.info
    size = clips_pb2.Clip(width=info.width, height=info.height, frames=info.frame_count)
    with bar("Masks") as shown:
        message = edit_message(
            file,
            size,
            folder=folder,
            read_mask=read_mask,
            read_image=read_image,
            read_reference=reference_reader(source),
            progress=shown.show,
        )
    return PreparedEdit(path, file, source, info, message)


def render(client: Client, edit: PreparedEdit) -> jobs_pb2.Take:
    """Submits the edit and waits for its take.

    Raises BackendError. Ctrl-C cancels the job and leaves with 130.
    """
    with bar("Clip") as shown:
        clip = client.open_clip(edit.source, sent=lambda done, total: shown.show(done, total, "sending"))
    edit.message.clip = clip.id
    job = client.submit(edit.message, edit.path.stem)
    try:
        with bar("Render") as shown:
            job = _follow(client, job, shown)
    except KeyboardInterrupt:
        _cancel(client, job.id)
        raise typer.Exit(INTERRUPTED) from None
    if job.state == jobs_pb2.JOB_STATE_CANCELLED:
        raise Cancelled(f"Job {job.id} was cancelled by another client.")
    if job.state != jobs_pb2.JOB_STATE_DONE:
        raise from_kind(job.error_kind, job.error)
    return client.take(job.take)


def _follow(client: Client, job: jobs_pb2.Job, shown: Bar) -> jobs_pb2.Job:
    for event in client.watch(job.id):
        if event.WhichOneof("event") == "progress":
            shown.show_job(event.progress)
        elif event.WhichOneof("event") == "figure":
            shown.show_figure(event.figure)
    return client.job(job.id)


def _cancel(client: Client, job: str) -> None:
    """Cancels, and waits until the backend has let go; a second Ctrl-C does not wait."""
    with suppress(BackendError, KeyboardInterrupt):
        if client.cancel(job).state not in ENDED:
            for _ in client.watch(job, patience=0):
                pass
    typer.echo(f"mattebox: stopped; job {job} is cancelled and nothing was written.", err=True)


@contextmanager
def keeping(take: jobs_pb2.Take, backend: str) -> Iterator[None]:
    """Adds to an error of the block that the take is kept, and which command writes it."""
    try:
        yield
    except BaseException as error:
        where = f" --backend {backend}" if backend else ""
        error.add_note(f"The take is kept: `mattebox takes export {take.id} -o FILE{where}` writes it.")
        raise


def write_take(
    client: Client, take: jobs_pb2.Take, source: Path, output: Path, *, title: str = "Write"
) -> None:
    """Writes a take's frames with the source's timing, colour and sound. Raises MediaError, BackendError."""
    with open_clip(source) as clip, bar(title) as shown:
        frames = counted(_frames(client, take), take.stop - take.start, shown)
        write_like(output, frames, clip, take.start, take.stop)


def _frames(client: Client, take: jobs_pb2.Take) -> Iterator[Frame]:
    for _, frame in client.read_take(take.id):
        yield frame
