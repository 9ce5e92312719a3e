"""Project files: what is saved comes back, and what cannot be read is said in one sentence."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_desktop.model import commands, project_file
from mattebox_desktop.model.errors import ProjectFileError
from mattebox_desktop.model.project import ClipRef, Project, Take
from mattebox_desktop.model.project_file import load_project, save_project
from mattebox_desktop.model.reference import Picture
from mattebox_desktop.model.reference_commands import add_reference, remove_reference, replace_picture
from mattebox_desktop.model.region import MaskMode

GOLDEN = Path(__file__).parent / "golden"


def content(project: Project) -> dict[str, Any]:
    """Everything a project holds, comparable."""
    return {
        "clip": project.clip,
        "range": (project.in_point, project.out_point),
        "prompts": (project.prompt, project.source_prompt),
        "how": (project.method, project.backbone, project.seed, dict(project.params)),
        "regions": [
            (
                region.id,
                region.name,
                region.prompt,
                region.color,
                region.letter,
                region.visible,
                region.mode,
                region.dilation,
                region.feather,
                region.words,
                {k: None if m is None else m.tobytes() for k, m in region.masks.keys.items()},
            )
            for region in project.regions
        ],
        "references": [
            (
                reference.id,
                reference.frame,
                reference.region.id,
                reference.picture.pixels.tobytes(),
                reference.picture.source,
            )
            for reference in project.references
        ],
        "takes": list(project.takes),
        "used": project.take_in_use,
    }


@pytest.fixture
def edited(project: Project) -> Project:
    commands.set_range(project, 2, 18)
    commands.set_prompt(project, "a red disc and a star, “quoted” – ünïcode")
    commands.set_parameter(project, "steps", 20)
    commands.set_parameter(project, "blend", False)
    commands.set_parameter(project, "guidance", 7.0)
    region = commands.add_region(project, "left", "a red disc")
    commands.add_region(project, "right", "a star")
    rng = np.random.default_rng(0)
    with project.changes.transaction("Paint"):
        region.masks.set_key(3, rng.integers(0, 256, (48, 64)).astype(np.uint8))
        region.masks.set_key(9, None)
        region.words = ("red", "disc")
    rng_picture = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
    add_reference(project, 7, region, Picture(rng_picture, "/home/fox/frame 7.png"))
    add_reference(project, 0, project.regions[1], Picture(np.zeros((48, 64, 3), np.uint8)))
    take = Take("t1", "Take 1", Path("/takes/1.mkv"), 2, 18, 0, "p", "2026-01-01T00:00:00Z", {"frames": 16})
    commands.add_take(project, take)
    commands.use_take(project, take)
    return project


def test_saved_project_comes_back_whole(edited: Project, tmp_path: Path) -> None:
    path = tmp_path / "edit.mattebox"
    save_project(edited, path)
    loaded = load_project(path)
    assert content(loaded) == content(edited)
    assert type(loaded.params["blend"]) is bool
    assert type(loaded.params["steps"]) is int
    assert type(loaded.params["guidance"]) is float
    assert not loaded.changes.dirty
    assert loaded.changes.undo_title is None


def test_fields_and_members_of_a_later_version_survive(edited: Project, tmp_path: Path) -> None:
    path, again = tmp_path / "edit.mattebox", tmp_path / "again.mattebox"
    save_project(edited, path)
    _rewrite(
        path,
        lambda d: (
            d.update(mood="calm"),
            d["regions"][0].update(locked=True),
            d["references"][1].update(weight=0.5),
        ),
        {"notes.txt": b"hi", "references/notes.txt": b"ho"},
    )
    save_project(load_project(path), again)
    with zipfile.ZipFile(again) as archive:
        document = json.loads(archive.read("project.json"))
        assert archive.read("notes.txt") == b"hi"
        assert archive.read("references/notes.txt") == b"ho"
    assert document["mood"] == "calm"
    assert document["regions"][0]["locked"] is True
    assert document["references"][1]["weight"] == 0.5


def test_clip_that_moved_with_its_project_is_found(project: Project, tmp_path: Path) -> None:
    from dataclasses import replace

    (tmp_path / "a").mkdir()
    clip = tmp_path / "a" / "fox.mp4"
    clip.write_bytes(b"")
    with project.changes.transaction("Move"):
        assert project.clip is not None
        project.clip = replace(project.clip, path=clip)
    save_project(project, tmp_path / "a" / "edit.mattebox")
    (tmp_path / "a").rename(tmp_path / "b")
    loaded = load_project(tmp_path / "b" / "edit.mattebox")
    assert loaded.clip is not None
    assert loaded.clip.path == (tmp_path / "b" / "fox.mp4").resolve()


def test_older_layouts_are_upgraded_step_by_step(
    edited: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "edit.mattebox"
    save_project(edited, path)
    _rewrite(
        path,
        lambda d: (
            d.update(version=0, references=[]),
            d.pop("prompt"),
            d.update(text="old words"),
        ),
    )

    def from_zero(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "prompt": document.pop("text")}

    monkeypatch.setitem(project_file.UPGRADES, 0, from_zero)
    assert load_project(path).prompt == "old words"


def golden_content(layout: int) -> dict[str, Any]:
    """What the golden files hold: each was written by the Mattebox of its layout, as /clips/fox.mp4's."""
    mask = np.zeros((48, 64), np.uint8)
    mask[8:24, 8:32] = 255
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[8:24, 8:32] = (220, 40, 40)
    left = ("left00000001", "left", "a red disc", "#e69f00", "A", True, MaskMode.TIGHT, 0, 0)
    right = ("right0000001", "right", "a star", "#56b4e9", "B", True, MaskMode.DILATED, 3, 2)
    references = [("reference001", 4, "left00000001", picture.tobytes(), "/home/fox/frame 4.png")]
    take = Take("t1", "Take 1", Path("/takes/1.mkv"), 2, 18, 0, "p", "2026-01-01T00:00:00Z", {"frames": 16})
    return {
        "clip": ClipRef(Path("/clips/fox.mp4"), 64, 48, 20, Fraction(25), "c0ffee"),
        "range": (2, 18),
        "prompts": ("a red disc and a star, “quoted” – ünïcode", "two discs"),
        "how": ("auto", "pocket-sd", 7, {"steps": 20, "blend": False}),
        "regions": [
            (*left, ("red", "disc"), {3: mask.tobytes(), 9: None}),
            (*right, (), {}),
        ],
        "references": references if layout >= 2 else [],
        "takes": [take],
        "used": "t1",
    }


@pytest.mark.parametrize("layout", range(1, project_file.VERSION + 1))
def test_projects_of_every_layout_open(layout: int, tmp_path: Path) -> None:
    loaded = load_project(GOLDEN / f"layout-{layout}.mattebox")
    assert content(loaded) == golden_content(layout)
    save_project(loaded, tmp_path / "again.mattebox")
    assert content(load_project(tmp_path / "again.mattebox")) == golden_content(layout)


def test_only_pictures_that_are_shown_are_kept(edited: Project, tmp_path: Path) -> None:
    path = tmp_path / "edit.mattebox"
    first, second = edited.references
    newer = Picture(np.full((48, 64, 3), 9, np.uint8), "newer.png")
    replace_picture(edited, first, newer)
    remove_reference(edited, second)
    save_project(edited, path)
    with zipfile.ZipFile(path) as archive:
        assert [n for n in archive.namelist() if n.startswith("references/")] == [
            f"references/{first.id}.png"
        ]
    (kept,) = load_project(path).references
    assert (kept.picture.pixels.tobytes(), kept.picture.edited) == (newer.pixels.tobytes(), True)


def test_a_picture_is_encoded_once(edited: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_project(edited, tmp_path / "a.mattebox")
    made: list[tuple[int, ...]] = []
    monkeypatch.setattr(project_file, "png", lambda pixels: (made.append(pixels.shape), b"")[1])
    save_project(edited, tmp_path / "b.mattebox")
    assert made == []


def test_newer_layout_is_refused_in_words(edited: Project, tmp_path: Path) -> None:
    path = tmp_path / "edit.mattebox"
    save_project(edited, path)
    _rewrite(path, lambda d: d.update(version=99))
    with pytest.raises(ProjectFileError, match=r"newer Mattebox .layout 99.*update Mattebox"):
        load_project(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(format="other"), "not a Mattebox project"),
        (lambda d: d.update(in_point="x"), "damaged: in_point"),
        (lambda d: d["regions"][0].update(color="red"), r"damaged: regions.0.color"),
        (lambda d: d["regions"][0]["keys"][0].update(mask="masks/gone.png"), "damaged"),
        (lambda d: d["regions"][0]["keys"][0].update(frame=500), "damaged.*Frame 500"),
        (lambda d: d["clip"].update(width=10), "damaged.*64×48"),
        (lambda d: d["clip"].update(frame_rate="25/0"), "damaged: clip.frame_rate"),
        (lambda d: d.update(clip=None), "regions but no clip"),
        (lambda d: d["references"][0].update(region="gone"), "damaged.*for a region that is not there"),
        (lambda d: d["references"][0].update(frame=20), "damaged.*frame 20, outside the clip"),
        (lambda d: d["references"][0].update(frame=-1), "damaged: references.0.frame"),
        (lambda d: d["references"][0].update(id="../x"), "damaged: references.0.id"),
        (lambda d: d["references"][0].update(picture="references/no.png"), "damaged"),
        (
            lambda d: d["references"][0].update(picture=d["regions"][0]["keys"][0]["mask"]),
            "damaged.*not an 8-bit colour picture",
        ),
    ],
)
def test_damage_is_named_in_one_sentence(edited: Project, tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "edit.mattebox"
    save_project(edited, path)
    _rewrite(path, change)
    with pytest.raises(ProjectFileError, match=words) as caught:
        load_project(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04" + bytes(100)])
def test_file_that_is_no_project_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "edit.mattebox"
    path.write_bytes(data)
    with pytest.raises(ProjectFileError, match="not a Mattebox project"):
        load_project(path)


def test_truncated_and_flipped_files_never_load_as_something_else(edited: Project, tmp_path: Path) -> None:
    path, bad = tmp_path / "edit.mattebox", tmp_path / "bad.mattebox"
    save_project(edited, path)
    data = path.read_bytes()
    for cut in range(0, len(data), max(1, len(data) // 40)):
        bad.write_bytes(data[:cut])
        with pytest.raises(ProjectFileError):
            load_project(bad)
    rng = np.random.default_rng(3)
    for _ in range(60):
        flipped = bytearray(data)
        flipped[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        bad.write_bytes(flipped)
        try:
            loaded = load_project(bad)
        except ProjectFileError:
            continue
        assert len(loaded.regions) == 2  # a bit that does not matter (a time stamp in the zip)


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProjectFileError, match="does not exist"):
        load_project(tmp_path / "none.mattebox")


def test_failed_save_leaves_the_old_file_and_nothing_else(
    edited: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "edit.mattebox"
    save_project(edited, path)
    before = path.read_bytes()
    commands.set_prompt(edited, "changed")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProjectFileError, match=r"No space left on device.*free some space"):
        save_project(edited, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["edit.mattebox"]


def _rewrite(path: Path, change: Any, members: dict[str, bytes] | None = None) -> None:
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(kept["project.json"])
    change(document)
    kept["project.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**kept, **(members or {})}.items():
            archive.writestr(name, data)
