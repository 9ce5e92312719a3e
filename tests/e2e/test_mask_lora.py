"""An edited frame carried through a clip, from files to files: the shipped video model, a real training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_backend.bench.tasks import Level, Task, cut, load_tasks
from mattebox_backend.world.recognise import recognise
from mattebox_media import open_clip
from PIL import Image

from .conftest import Mattebox

FRAMES = 9
EDIT = """
source = "source/%04d.png"
source_prompt = "{source_prompt}"
prompt = "{prompt}"
method = "mask-lora"
seed = {seed}

[params]
motion_steps = 60
steps = 16

[[region]]
name = "thing"
mask = "mask/%04d.png"

[[reference]]
frame = 0
image = "edited.png"
region = "thing"
"""


@pytest.fixture(scope="module")
def task() -> Task:
    (first, *_) = load_tasks(Level.LOOK)
    return cut(first, FRAMES)


@pytest.fixture(scope="module")
def folder(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task as a user would have it: numbered pictures, an edited first one, an edit file."""
    folder = tmp_path_factory.mktemp("mask-lora")
    masks = task.source_masks(task.regions[0])
    for name, pictures in (("source", task.source.frames), ("mask", masks)):
        (folder / name).mkdir()
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / name / f"{number:04d}.png")
    Image.fromarray(task.truth.frames[0]).save(folder / "edited.png")
    write_edit(folder, task, seed=1)
    return folder


def write_edit(folder: Path, task: Task, seed: int) -> None:
    text = EDIT.format(source_prompt=task.source_prompt, prompt=task.prompt, seed=seed)
    (folder / "edit.toml").write_text(text)


def render(mattebox: Mattebox, folder: Path, name: str) -> tuple[np.ndarray, dict[str, Any]]:
    out, report = folder / f"{name}.mkv", folder / f"{name}.json"
    run = mattebox("edit", folder / "edit.toml", "-o", out, "--json", report)
    assert run.returncode == 0, run.stderr
    with open_clip(out) as clip:
        return np.stack(list(clip.frames(0, FRAMES))), json.loads(report.read_text())


def test_the_clip_follows_its_edited_frame_and_what_was_learnt_is_kept(
    mattebox: Mattebox, folder: Path, task: Task
) -> None:
    frames, report = render(mattebox, folder, "first")
    wanted = str(task.edited_scene.objects[task.regions[0].objects[0]].colour)
    masks = task.source_masks(task.regions[0]) > 0
    seen = [recognise(frame, within=mask) for frame, mask in zip(frames, masks, strict=True)]
    found = [str(sightings[0].colour) if sightings else "" for sightings in seen]
    assert found.count(wanted) >= FRAMES - 1, (wanted, found)
    assert report["background_exact_share"] == 1.0
    losses = [loss for _, loss in report["curves"]["motion loss"]]
    assert len(losses) == 60
    assert np.mean(losses[-20:]) < np.mean(losses[:20])

    write_edit(folder, task, seed=2)
    again, other = render(mattebox, folder, "second")
    assert other["adapters"] == report["adapters"], "another seed needs no other training"
    assert "tune" not in other["seconds"] or other["seconds"]["tune"] < 1
    assert not np.array_equal(frames, again)
