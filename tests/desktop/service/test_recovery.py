"""Copies of unsaved work: whose they are, and who may take them away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mattebox_desktop.model import commands
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.project_file import load_project, save_project
from mattebox_desktop.service.recovery import Recovery

KEEP_AND_WAIT = """
import sys
from mattebox_desktop.model.project import Project
from mattebox_desktop.service.recovery import Recovery
recovery = Recovery()
recovery.keep(Project())
print(recovery.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATTEBOX_HOME", str(tmp_path))
    return tmp_path / "data" / "recovery"


def test_a_copy_is_offered_once_its_process_is_dead() -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", KEEP_AND_WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    kept = Path(other.stdout.readline().strip())
    assert kept.is_file()
    assert Recovery().left_behind() == []
    other.kill()
    other.communicate()
    assert Recovery().left_behind() == [kept]


def test_a_crashed_process_of_the_same_id_keeps_its_copy(folder: Path) -> None:
    folder.mkdir(parents=True)
    crashed = folder / f"{os.getpid()}.mattebox"
    save_project(Project(), crashed)
    own = Recovery()
    own.keep(Project())
    assert own.left_behind() == [crashed]
    own.discard()
    assert list(folder.iterdir()) == [crashed]
    own.forget(crashed)
    assert list(folder.iterdir()) == []


def test_a_copy_can_be_kept_again_after_it_was_discarded() -> None:
    own, project = Recovery(), Project()
    own.keep(project)
    own.discard()
    commands.set_prompt(project, "a red star")
    own.keep(project)
    assert load_project(own.path).prompt == "a red star"
    assert Recovery().left_behind() == []
    own.discard()
