"""`mattebox cache`, `jobs` and `takes`: what the backend holds, as tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from mattebox_media.formats import check_output
from mattebox_proto.mattebox.v1 import jobs_pb2, system_pb2
from rich.console import Console
from rich.table import Table

from mattebox_desktop.cli.connecting import connect
from mattebox_desktop.cli.failures import UsageFault
from mattebox_desktop.cli.inputs import real_files, spare
from mattebox_desktop.cli.progress import STAGES
from mattebox_desktop.cli.rendering import write_take
from mattebox_desktop.model.curve import curves_of

_STATES: dict[int, str] = {
    jobs_pb2.JOB_STATE_QUEUED: "queued",
    jobs_pb2.JOB_STATE_RUNNING: "running",
    jobs_pb2.JOB_STATE_DONE: "done",
    jobs_pb2.JOB_STATE_FAILED: "failed",
    jobs_pb2.JOB_STATE_CANCELLED: "cancelled",
}


def show_cache(backend: str) -> None:
    with connect(backend) as client:
        _print_cache(client.cache())


def clear_cache(kinds: Sequence[str], backend: str) -> None:
    with connect(backend) as client:
        before = client.cache()
        known = [kind.name for kind in before.kinds]
        for kind in kinds:
            if kind not in known:
                raise UsageFault(f"The cache has no kind {kind!r}; it has {', '.join(known)}.")
        after = client.clear_cache(kinds)
    freed = sum(kind.bytes for kind in before.kinds) - sum(kind.bytes for kind in after.kinds)
    typer.echo(f"Cleared {size_text(max(freed, 0))}.")


def _print_cache(usage: system_pb2.CacheUsage) -> None:
    table = Table("kind", "size", "entries", "folder", box=None)
    for kind in usage.kinds:
        table.add_row(kind.name, size_text(kind.bytes), str(kind.entries), kind.path)
    total = sum(kind.bytes for kind in usage.kinds)
    print_table(table, "The cache is empty.")
    typer.echo(
        f"{size_text(total)} in all; the limit of what may be dropped is {size_text(usage.limit_bytes)}."
    )


def show_jobs(backend: str) -> None:
    with connect(backend) as client:
        jobs = client.jobs()
    table = Table("job", "title", "state", "submitted", "", box=None)
    for job in jobs:
        table.add_row(
            job.id, job.title, _STATES.get(job.state, "?"), _time_text(job.submitted), _job_note(job)
        )
    print_table(table, "No jobs yet; `mattebox edit` makes one.")


def _job_note(job: jobs_pb2.Job) -> str:
    if job.state == jobs_pb2.JOB_STATE_RUNNING:
        return f"{STAGES.get(job.progress.stage, 'starting')}, {job.progress.fraction:.0%}"
    if job.state == jobs_pb2.JOB_STATE_DONE:
        return f"take {job.take}"
    return job.error


def cancel_job(job: str, backend: str) -> None:
    with connect(backend) as client:
        state = client.cancel(job).state
    if state in (jobs_pb2.JOB_STATE_DONE, jobs_pb2.JOB_STATE_FAILED):
        typer.echo(f"Job {job} had already ended ({_STATES[state]}).")
    else:
        typer.echo(f"Job {job} is cancelled.")


def print_log(job: str, backend: str) -> None:
    with connect(backend) as client:
        for data in client.log(job):
            sys.stdout.write(data.decode("utf-8", errors="replace"))
    sys.stdout.flush()


def show_takes(backend: str) -> None:
    with connect(backend) as client:
        takes = client.takes()
    table = Table("take", "made", "frames", "size", "method", "prompt", box=None)
    for take in takes:
        span, size = f"{take.start}-{take.stop - 1}", f"{take.width}x{take.height}"
        table.add_row(take.id, _time_text(take.made), span, size, take.edit.method, take.edit.prompt)
    print_table(table, "No takes yet; `mattebox edit` makes one.")


def show_take(take: str, backend: str) -> None:
    with connect(backend) as client:
        found = client.take(take)
    report = json.loads(found.report_json or "{}")
    rows = {
        "clip": found.clip_path,
        "made": _time_text(found.made),
        "frames": f"{found.start}-{found.stop - 1}, {found.width}x{found.height}",
        "method": f"{found.edit.method}, {found.edit.backbone}, seed {found.edit.seed}",
        "prompt": found.edit.prompt,
        "rendered": _report_words(report),
        "video": found.path,
    }
    for name, words in rows.items():
        if words:
            typer.echo(f"{name:9}{words}")
    for curve in curves_of(report):
        typer.echo(curve.words)
    for warning in report.get("warnings", []):
        typer.echo(f"warning: {warning}")


def _report_words(report: Mapping[str, Any]) -> str:
    facts = []
    if seconds := report.get("seconds"):
        facts.append(f"{sum(seconds.values()):.0f} s on {report.get('device', 'an unknown device')}")
    if (exact := report.get("background_exact_share")) is not None:
        facts.append(f"background exact {exact:.2%}")
    return ", ".join(facts)


def export_take(take: str, output: Path, backend: str) -> None:
    check_output(output)
    with connect(backend) as client:
        found = client.take(take)
        source = Path(found.clip_path)
        if not source.name or ("%" not in source.name and not source.is_file()):
            raise UsageFault(
                f"The clip of take {take} is not on this machine ({source}); "
                "bring it back, or run this where it is: sound and timing come from the clip."
            )
        frames = found.stop - found.start
        spare(dict.fromkeys(real_files(source), "the clip of this take"), output, frames)
        write_take(client, found, source, output)
    typer.echo(f"{output}: {frames} frames, {found.width}x{found.height}, take {take}")


def delete_take(take: str, backend: str) -> None:
    with connect(backend) as client:
        client.delete_take(take)
    typer.echo(f"Take {take} is deleted.")


def size_text(size: float) -> str:
    """Bytes in words: 1536 is "1.5 kB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _time_text(stamp: Timestamp) -> str:
    return f"{stamp.ToDatetime().astimezone():%Y-%m-%d %H:%M}" if stamp.seconds else ""


def print_table(table: Table, without_rows: str) -> None:
    """A table, or a sentence where it has no rows."""
    if not table.rows:
        typer.echo(without_rows)
        return
    # A pipe gets whole lines: nothing is folded at 80 columns when no terminal asks for it.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(table)
