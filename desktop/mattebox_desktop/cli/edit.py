"""`mattebox edit`: one edit file, rendered without a window."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import typer
from mattebox_media.formats import check_leftovers, check_output
from mattebox_media.sequence import is_pattern
from mattebox_proto.atomic_file import replacing
from mattebox_proto.mattebox.v1 import jobs_pb2

from mattebox_desktop.cli.connecting import connect
from mattebox_desktop.cli.failures import UsageFault
from mattebox_desktop.cli.inputs import inputs_of, spare
from mattebox_desktop.cli.rendering import keeping, prepare, render, write_take


def run_edit(
    edit_file: Path, output: Path, report: Path | None, backend: str, device: str, *, inspect: bool = False
) -> None:
    """Everything that can be wrong without rendering is found before a backend is asked for."""
    check_output(output)
    if report is not None:
        check_report(report)
    edit = prepare(edit_file)
    edit.message.inspect = edit.message.inspect or inspect
    check_output(output, has_alpha=edit.info.has_alpha)
    frames = edit.message.stop - edit.message.start
    spare(inputs_of(edit), output, frames, report)
    if is_pattern(output):
        check_leftovers(output, range(frames))
    with connect(backend, device) as client:
        take = render(client, edit)
        with keeping(take, backend):
            write_take(client, take, edit.source, output)
    made = report_of(take)
    say_warnings(made)
    if report is not None:
        write_report(report, made)
    summary = f"{made.get('frames', take.stop - take.start)} frames, {take.width}x{take.height}"
    if (exact := made.get("background_exact_share")) is not None:
        summary += f", background exact {exact:.2%}"
    typer.echo(f"{output}: {summary}, take {take.id}")


def report_of(take: jobs_pb2.Take) -> dict[str, Any]:
    """What the backend measured, as stored with the take."""
    return {**json.loads(take.report_json or "{}"), "take": take.id}


def check_report(path: Path) -> None:
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageFault(
            f"The report {path} cannot be written: give a file name in a folder that exists and that you may "
            "write to."
        )


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Replaces the file in one step."""
    with replacing(path) as file:
        file.write((json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())


def say_warnings(report: dict[str, Any]) -> None:
    """What the render did otherwise than the edit may have meant."""
    for warning in report.get("warnings", []):
        typer.echo(f"mattebox: warning: {warning}", err=True)
