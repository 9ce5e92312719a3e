"""Edit files in the desktop: the same edit as on the command line, and every fault in a sentence."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mattebox_desktop.model import commands
from mattebox_desktop.model.edit_request import edit_request
from mattebox_desktop.model.errors import ProjectFileError
from mattebox_desktop.service.edit_files import project_of_edit
from mattebox_desktop.service.wire import edit_message
from mattebox_media import write_clip
from mattebox_proto.codecs.frames import decode_image
from PIL import Image

EDIT = """
source = "clip.mkv"
range = [1, 3]
prompt = "a red star and a fox"
seed = 9000000000

[[region]]
name = "left"
prompt = "a red star"
mask = "mask.png"
words = ["red star"]
color = "#dc2828"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clip of four frames, and a 16-bit mask that is half on in its left half."""
    write_clip(tmp_path / "clip.mkv", (np.zeros((32, 48, 3), np.uint8) for _ in range(4)), fps=Fraction(10))
    mask = np.zeros((32, 48), np.uint16)
    mask[:, :24] = 128 * 257
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


def edit_file(folder: Path, old: str = "", new: str = "") -> Path:
    path = folder / "edit.toml"
    path.write_text(EDIT.replace(old, new) if old else EDIT)
    return path


def test_the_project_renders_what_the_file_says(folder: Path) -> None:
    project = project_of_edit(edit_file(folder)).project
    message = edit_message(edit_request(project, "edit"), "clip id")
    (region,) = message.regions
    assert (message.start, message.stop, message.seed) == (1, 3, 9_000_000_000)
    assert (list(region.words), region.color) == (["red star"], "#dc2828")
    mask = project.regions[0].masks.mask_at(2)
    assert mask is not None
    assert (int(mask[5, 5]), int(mask[5, 40])) == (128, 0)
    assert not project.changes.dirty


def test_references_open_with_it(folder: Path) -> None:
    painted = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    Image.fromarray(painted).save(folder / "painted.png")
    path = edit_file(folder)
    reference = '[[reference]]\nframe = {}\nimage = "{}"\nregion = "left"\n{}\n'
    Image.new("RGB", (24, 16), (9, 8, 7)).save(folder / "small.webp", lossless=True)
    path.write_text(
        path.read_text()
        + reference.format(2, "painted.png", "")
        + reference.format(1, "small.webp", 'fit = "cover"')
    )
    opened = project_of_edit(path)
    assert opened.pictures == 0
    first, second = opened.project.references
    assert (first.frame, first.region, first.picture.source) == (
        2,
        opened.project.regions[0],
        str(folder / "painted.png"),
    )
    assert np.array_equal(first.picture.pixels, painted)
    assert (second.picture.pixels == (9, 8, 7)).all()
    message = edit_message(edit_request(opened.project, "edit"), "clip id")
    assert [(r.frame, r.region) for r in message.references] == [(1, "left"), (2, "left")]
    assert np.array_equal(decode_image(message.references[1].image), painted)
    assert not opened.project.changes.dirty


def test_condition_pictures_are_counted(folder: Path) -> None:
    Image.new("RGB", (48, 32)).save(folder / "depth.png")
    opened = project_of_edit(edit_file(folder, "seed", 'condition_pictures = "depth.png"\nseed'))
    assert opened.pictures == 2


def test_words_go_with_the_prompt_that_they_were_picked_from(folder: Path) -> None:
    project = project_of_edit(edit_file(folder)).project
    region = project.regions[0]
    commands.set_region_prompt(project, region, "a blue fish")
    assert region.words == ()
    project.changes.undo()
    assert (region.prompt, region.words) == ("a red star", ("red star",))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed", "sead", "did you mean 'seed'?"),
        ("[1, 3]", "[1, 9]", "goes beyond the clip"),
        ("mask.png", "none.png", "is missing"),
        ("mask.png", "small.png", "masks have the clip's size"),
        ("mask.png", "broken.png", "broken.png cannot be read"),
        ("mask.png", "black.png", "marks no pixel"),
        ("clip.mkv", "gone.mkv", "gone.mkv"),
        (
            "[[region]]",
            '[[reference]]\nframe = 1\nimage = "small.png"\nregion = "left"\n[[region]]',
            "is 8x8",
        ),
        (
            "[[region]]",
            '[[reference]]\nframe = 1\nimage = "broken.png"\nregion = "left"\n[[region]]',
            "The reference of frame 1: “broken.png” is no picture that Mattebox reads, or it is damaged",
        ),
    ],
)
def test_a_fault_is_one_sentence(folder: Path, old: str, new: str, said: str) -> None:
    Image.new("L", (8, 8), 255).save(folder / "small.png")
    Image.new("L", (48, 32), 0).save(folder / "black.png")
    whole = (folder / "mask.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[:40] + b"\0" * 20)
    with pytest.raises(ProjectFileError) as caught:
        project_of_edit(edit_file(folder, old, new))
    assert said in str(caught.value)
