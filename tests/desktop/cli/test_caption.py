"""`mattebox caption` through a real backend, with a tiny Florence-2 that tells red from blue."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from mattebox_media import write_clip
from PIL import Image

Run = Callable[..., Any]


@pytest.fixture
def painted(florences: Any, tmp_path: Path) -> Path:
    path = tmp_path / "painted.mkv"
    write_clip(path, iter([florences.wall(color) for color in ("red", "blue")]), fps=Fraction(8))
    return path


def test_a_frame_is_described(mattebox: Run, painted: Path, captioner: Path) -> None:
    for arguments, words in (
        ([], "the picture shows a red wall on gray ground"),
        (["--frame", "1"], "the picture shows a blue wall on gray ground"),
        (["--frame", "1", "--detail", "sentence"], "a blue wall"),
        (["--detail", "detailed"], "a red wall on gray ground"),
    ):
        outcome = mattebox("caption", painted, *arguments, "--captioner", captioner)
        assert (outcome.code, outcome.out, outcome.err) == (0, f"{words}\n", "")


def test_a_picture_is_described_and_a_folder_may_be_named_from_here(
    mattebox: Run, florences: Any, captioner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(florences.wall("blue", 24, 32)).save(tmp_path / "edited.png")
    monkeypatch.chdir(captioner.parent)
    outcome = mattebox(
        "caption", tmp_path / "edited.png", "--detail", "sentence", "--captioner", captioner.name
    )
    assert (outcome.code, outcome.out) == (0, "a blue wall\n")
    beyond = mattebox("caption", tmp_path / "edited.png", "--frame", "1")
    assert (beyond.code, "which has frame 0 alone" in beyond.err) == (2, True)
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"x")
    assert (mattebox("caption", torn).code, mattebox("caption", tmp_path / "none.png").code) == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "hf download florence-community/Florence-2-base"),
        (["--captioner", "nobody"], "“nobody” is not on this machine"),
        (["--frame", "2"], "--frame 2 is not within"),
        (["--frame", "-1"], "--frame -1 is not within"),
    ],
)
def test_what_cannot_be_described_is_one_sentence(
    mattebox: Run, painted: Path, arguments: list[str], words: str
) -> None:
    outcome = mattebox("caption", painted, *arguments)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert words in outcome.err


def test_a_folder_of_something_else_is_refused(mattebox: Run, painted: Path, model: Path) -> None:
    outcome = mattebox("caption", painted, "--captioner", model)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "is no complete model" in outcome.err or "no Florence-2" in outcome.err
