"""What a user can get wrong: each ends in one sentence and an exit code, before any backend is started."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad input is found before a backend is asked for: asking for one fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a backend was asked for")

    monkeypatch.setattr("mattebox_proto.local.connect", refuse)


def sentence(outcome: Any, *said: str) -> None:
    assert outcome.code == 2
    [line] = outcome.err.strip().splitlines()
    assert line.startswith("mattebox: ")
    for words in said:
        assert words in line


def test_no_edit_file(mattebox: Run, work: Path) -> None:
    sentence(mattebox("edit", work / "none.toml", "-o", work / "o.mp4"), "none.toml does not exist")


def test_no_source(mattebox: Run, work: Path, edit_file: Run) -> None:
    sentence(mattebox("edit", edit_file(("clip.mkv", "gone.mkv")), "-o", work / "o.mp4"), "gone.mkv")


def test_a_source_that_is_no_video(mattebox: Run, work: Path, edit_file: Run) -> None:
    (work / "text.mp4").write_text("hello " * 100)
    sentence(mattebox("edit", edit_file(("clip.mkv", "text.mp4")), "-o", work / "o.mp4"), "text.mp4")


def test_a_truncated_source(mattebox: Run, work: Path, edit_file: Run) -> None:
    whole = (work / "clip.mkv").read_bytes()
    (work / "clip.mkv").write_bytes(whole[: len(whole) // 2])
    sentence(mattebox("edit", edit_file(), "-o", work / "o.mp4"), "clip.mkv")


def test_a_range_without_a_frame(mattebox: Run, work: Path, edit_file: Run) -> None:
    sentence(
        mattebox("edit", edit_file(("[1, 3]", "[3, 3]")), "-o", work / "o.mp4"),
        "range = [3, 3] holds no frame",
    )


def test_a_range_beyond_the_clip(mattebox: Run, work: Path, edit_file: Run) -> None:
    outcome = mattebox("edit", edit_file(("[1, 3]", "[1, 9]")), "-o", work / "o.mp4")
    sentence(outcome, "range = [1, 9] goes beyond the clip: clip.mkv has 4 frames")


def test_a_mask_of_another_size(mattebox: Run, work: Path, edit_file: Run) -> None:
    Image.fromarray(np.full((32, 64), 255, np.uint8)).save(work / "masks" / "0002.png")
    sentence(mattebox("edit", edit_file(), "-o", work / "o.mp4"), "0002.png is 64x32, the clip is 64x64")


def test_a_missing_mask(mattebox: Run, work: Path, edit_file: Run) -> None:
    (work / "masks" / "0002.png").unlink()
    sentence(
        mattebox("edit", edit_file(), "-o", work / "o.mp4"),
        "'left'",
        "mask of frame 2 is missing",
        "0002.png",
    )


def test_a_mask_that_is_no_picture(mattebox: Run, work: Path, edit_file: Run) -> None:
    (work / "masks" / "0002.png").write_text("no picture")
    sentence(mattebox("edit", edit_file(), "-o", work / "o.mp4"), "0002.png cannot be read")


def test_an_empty_region(mattebox: Run, work: Path, edit_file: Run) -> None:
    black = edit_file(('mask = "masks/%04d.png"', "box = [200, 200, 5, 5]"))
    sentence(mattebox("edit", black, "-o", work / "o.mp4"), "Region 'left' is empty")


def test_a_misspelt_key_and_method(mattebox: Run, work: Path, edit_file: Run) -> None:
    misspelt = edit_file(("source_prompt", "sourcep_rompt"))
    sentence(mattebox("edit", misspelt, "-o", work / "o.mp4"), "did you mean 'source_prompt'?")
    unknown = edit_file(("range =", 'method = "magic"\nrange ='))
    sentence(mattebox("edit", unknown, "-o", work / "o.mp4"), "method = 'magic' is not known")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("o.avi", ".avi"),
        ("o.png", "%04d"),
        ("o", "use .mp4"),
        ("none/o.mp4", "there is no folder"),
        (".", "use .mp4"),
        ("clip.mkv", "is the source of this edit"),
    ],
)
def test_an_output_that_cannot_be(mattebox: Run, work: Path, edit_file: Run, output: str, said: str) -> None:
    before = (work / "clip.mkv").read_bytes()
    sentence(mattebox("edit", edit_file(), "-o", work / output), said)
    assert (work / "clip.mkv").read_bytes() == before


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("masks/%04d.png", "masks/0000.png is a mask of region 'left'"),
        ("painted/%04d.png", "painted/0001.png is the reference picture of frame 1"),
        ("frames/%04d.png", "frames/0000.png is the source of this edit"),
        ("depth/%04d.png", "depth/0000.png is a condition picture of this edit"),
    ],
)
def test_a_picture_sequence_over_what_the_edit_is_made_from(
    mattebox: Run, work: Path, edit_file: Run, output: str, said: str
) -> None:
    for folder in ("frames", "painted", "depth"):
        (work / folder).mkdir()
    for frame in range(4):
        for folder in ("frames", "depth"):
            Image.new("RGB", (64, 64)).save(work / folder / f"{frame:04d}.png")
    Image.new("RGB", (64, 64)).save(work / "painted" / "0001.png")
    path = edit_file(
        ("clip.mkv", "frames/%04d.png"),
        ("range", 'condition_pictures = "depth/%04d.png"\nrange'),
        ("[params]", '[[reference]]\nframe = 1\nimage = "painted/0001.png"\nregion = "left"\n[params]'),
    )
    sentence(mattebox("edit", path, "-o", work / output), said)
    report = mattebox("edit", path, "-o", work / "o.mkv", "--json", work / "masks" / "0003.png")
    sentence(report, "0003.png is a mask of region 'left'")


def test_the_rest_of_an_older_sequence(mattebox: Run, work: Path, edit_file: Run) -> None:
    (work / "out").mkdir()
    for frame in range(3):
        Image.new("RGB", (64, 64)).save(work / "out" / f"{frame:04d}.png")
    outcome = mattebox("edit", edit_file(), "-o", work / "out" / "%04d.png")
    sentence(outcome, "1 more pictures of an earlier sequence (such as 0002.png)", "delete them")


def test_a_report_that_cannot_be(mattebox: Run, work: Path, edit_file: Run) -> None:
    sentence(mattebox("edit", edit_file(), "-o", work / "o.mkv", "--json", work / "no" / "r.json"), "report")
    sentence(
        mattebox("edit", edit_file(), "-o", work / "o.mkv", "--json", work / "edit.toml"), "is the edit file"
    )
    sentence(mattebox("edit", edit_file(), "-o", work / "o.mkv", "--json", work / "o.mkv"), "each its own")


def test_a_backend_that_is_not_there(mattebox: Run, work: Path, edit_file: Run) -> None:
    outcome = mattebox("edit", edit_file(), "-o", work / "o.mp4", "--backend", f"unix://{work}/none.sock")
    assert outcome.code == 1
    assert "gone or cannot be reached" in outcome.err
    sentence(mattebox("jobs", "--backend", "nonsense"), "nonsense", "HOST:PORT")


@pytest.mark.parametrize(
    "words",
    [
        ("cache", "clear"),
        ("jobs", "cancel", "j"),
        ("jobs", "log", "j"),
        ("takes", "delete", "t"),
        ("takes", "export", "t", "-o", "o.mp4"),
    ],
)
def test_a_backend_named_before_the_subcommand_counts(
    mattebox: Run, work: Path, words: tuple[str, ...]
) -> None:
    outcome = mattebox(words[0], "--backend", f"unix://{work}/none.sock", *words[1:])
    assert outcome.code == 1
    assert "gone or cannot be reached" in outcome.err


def test_a_name_that_is_neither_file_nor_command(mattebox: Run, work: Path) -> None:
    sentence(mattebox("edti"), "no file and no command named 'edti'", "did you mean `mattebox edit`?")
    sentence(mattebox(work / "none.mp4"), "none.mp4", "mattebox --help")


def test_options_that_do_not_exist_or_are_missing(mattebox: Run, work: Path, edit_file: Run) -> None:
    assert mattebox("edit", edit_file()).code == 2
    assert mattebox("edit", edit_file(), "-o", work / "o.mp4", "--nope").code == 2


def test_a_changed_demo_is_not_written_over(mattebox: Run, work: Path) -> None:
    (work / "edit.toml").write_text("mine")
    sentence(mattebox("demo", "-o", work), "edit.toml is no longer the demo's")
    assert (work / "edit.toml").read_text() == "mine"
    sentence(mattebox("demo", "-o", work / "clip.mkv"), "is a file")


def test_nothing_is_left_behind_by_any_of_it(mattebox: Run, work: Path, edit_file: Run) -> None:
    before = sorted(path.name for path in work.iterdir())
    path = edit_file(("[1, 3]", "[1, 9]"))
    mattebox("edit", path, "-o", work / "o.mp4", "--json", work / "r.json")
    assert sorted(p.name for p in work.iterdir()) == sorted([*before, "edit.toml"])


def test_it_is_the_same_as_a_process_of_its_own(command: list[str], work: Path, home: Path) -> None:
    done = subprocess.run(
        [*command, "edit", "none.toml", "-o", "o.mp4"], capture_output=True, text=True, cwd=work
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mattebox: The edit file none.toml does not exist.\n"
