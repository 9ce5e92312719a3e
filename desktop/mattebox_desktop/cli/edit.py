"""`mattebox edit`: one edit file, rendered without a window."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from mattebox_media.formats import check_output
from mattebox_proto.atomic_file import replacing
from mattebox_proto.mattebox.v1 import jobs_pb2

from mattebox_desktop.cli.connecting import connect
from mattebox_desktop.cli.failures import UsageFault
from mattebox_desktop.cli.rendering import PreparedEdit, prepare, render, write_take


def run_edit(edit_file: Path, output: Path, report: Path | None, backend: str, device: str) -> None:
    """Everything that can be wrong without rendering is found before a backend is asked for."""
    check_output(output)
    if report is not None:
        check_report(report)
    edit = prepare(edit_file)
    check_output(output, has_alpha=edit.info.has_alpha)
    _keep_inputs(edit, output, report)
    with connect(backend, device) as client:
        take = render(client, edit)
        write_take(client, take, edit.source, output)
    made = report_of(take)
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
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageFault(f"The report {path} cannot be written: give a file name in a folder that exists.")


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Replaces the file in one step."""
    with replacing(path) as file:
        file.write((json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())


def _keep_inputs(edit: PreparedEdit, output: Path, report: Path | None) -> None:
    """An output may not land on what the edit is made from."""
    inputs = {edit.path.resolve(): "the edit file", edit.source.resolve(): "the source"}
    for path in (output, report):
        if path is not None and path.resolve() in inputs:
            raise UsageFault(
                f"{path} is {inputs[path.resolve()]} of this edit; give another name to write to."
            )
    if report is not None and report.resolve() == output.resolve():
        raise UsageFault(f"The output and the report have one name, {output}; give each its own.")
