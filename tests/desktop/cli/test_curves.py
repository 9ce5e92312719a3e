"""The curve of a job on the command line: beside the bar while it runs, and of its take afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from mattebox_desktop.cli.progress import Bar
from mattebox_proto.discovery import read_card
from mattebox_proto.mattebox.v1 import jobs_pb2
from mattebox_proto.paths import folders
from rich.console import Console
from rich.progress import Progress, TextColumn

SCRIPT = Path(__file__).parents[2] / "backend" / "server" / "inverting_backend.py"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo terminals")

Run = Callable[..., Any]


@pytest.fixture
def walking(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own whose backend tells a figure in each step."""
    monkeypatch.setenv("MATTEBOX_HOME", str(tmp_path_factory.mktemp("walking")))
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    give_up = time.monotonic() + 90
    while (card := read_card(folders().backend_file)) is None or card.pid != process.pid:
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.02)
    yield
    process.terminate()
    process.wait(60)


def at_a_terminal(command: list[str | Path], folder: Path) -> tuple[int, str]:
    """Runs a command whose stderr is a terminal; its exit code, and what stood there."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, cwd=folder)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not data:
            break
        seen += data
    os.close(ours)
    return process.wait(60), seen.decode(errors="replace")


def test_the_latest_value_stands_beside_the_bar_and_the_curve_in_its_take(
    mattebox: Run,
    command: list[str],
    work: Path,
    edit_file: Run,
    walking: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    edit = edit_file(("steps = 1", "steps = 20\ndelay = 0.05\nfigures = true"))
    code, seen = at_a_terminal([*command, "edit", edit, "-o", "out.mkv"], work)
    assert code == 0, seen
    values = re.findall(r"sampling \d+/20[^\r\n]*?, length of the walk ([\d.]+)", seen)
    assert len(set(values)) > 3, seen

    [take] = re.findall(r"\b[0-9a-f]{16}\b", mattebox("takes").out)
    outcome = mattebox("takes", "show", take)
    assert (outcome.code, outcome.err) == (0, "")
    assert "st-modulator, pocket-sd, seed 0" in outcome.out
    assert "1-2, 64x64" in outcome.out
    [line] = [line for line in outcome.out.splitlines() if line.startswith("length of the walk")]
    assert re.fullmatch(
        r"length of the walk: first [\d.]+, last [\d.]+, lowest [\d.]+ \(step \d+ of 20\)", line
    )
    assert values[-1] in line
    unknown = mattebox("takes", "show", "nothing")
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)


def test_a_figure_is_shown_as_long_as_the_stage_that_it_came_in() -> None:
    with Progress(TextColumn("{task.fields[note]}"), console=Console(file=StringIO())) as progress:
        shown = Bar(progress, progress.add_task("Render", total=None, note=""))
        told = progress.tasks[0].fields

        def at(stage: jobs_pb2.Stage.ValueType, step: int) -> str:
            shown.show_job(jobs_pb2.JobProgress(stage=stage, step=step, of=9, eta_seconds=-1, fraction=0.1))
            return str(told["note"])

        assert at(jobs_pb2.STAGE_TUNE, 1) == "tuning 1/9"
        shown.show_figure(jobs_pb2.Figure(name="motion loss", step=1, of=9, value=0.012345))
        assert told["note"] == "tuning 1/9, motion loss 0.0123"
        assert at(jobs_pb2.STAGE_TUNE, 2) == "tuning 2/9, motion loss 0.0123"
        assert at(jobs_pb2.STAGE_SAMPLE, 1) == "sampling 1/9"
