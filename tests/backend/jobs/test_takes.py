"""Takes on the disk: whole or absent."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mattebox_backend.edit import Edit, Reference, Region
from mattebox_backend.errors import NotFound
from mattebox_backend.jobs.takes import Take, TakeShelf
from mattebox_media.reader import open_clip
from mattebox_proto.editfile import load
from PIL import Image

FRAMES = np.random.default_rng(4).integers(0, 256, (3, 16, 20, 3), dtype=np.uint8)


@pytest.fixture
def shelf(tmp_path: Path) -> TakeShelf:
    return TakeShelf(tmp_path / "takes")


def edit() -> Edit:
    masks = np.random.default_rng(5).integers(0, 256, (3, 16, 20), dtype=np.uint8)
    return Edit(
        clip=Path("/clips/street “a”.mp4"),
        clip_hash="abc",
        start=4,
        stop=7,
        prompt='a "quoted" prompt\nof two lines',
        source_prompt="",
        method="st-modulator",
        backbone="pocket-sd",
        seed=2**62,
        regions=(Region("left/right", "a star", masks, feather=3, words=("star",)),),
        references=(Reference(5, FRAMES[1], "left/right"),),
        params={"steps": 4, "preserve": True, "scale": 7.5, "mode": "x"},
        condition_pictures=FRAMES,
    )


def store(shelf: TakeShelf, name: str, *, made: float = 0.0, start: int = 4) -> None:
    with shelf.draft(name) as draft:
        draft.write_frames(iter(FRAMES), fps=Fraction(24000, 1001))
        take = Take(
            name,
            name,
            "abc",
            "/c.mp4",
            start,
            start + 3,
            20,
            16,
            Fraction(24000, 1001),
            made,
            {"prompt": "p"},
        )
        draft.commit(take, edit(), {"frames": draft.frames_written})


def test_a_take_is_read_back_as_it_was_stored(shelf: TakeShelf) -> None:
    store(shelf, "0a")
    take = shelf.get("0a")
    assert (take.fps, take.start, take.edit) == (Fraction(24000, 1001), 4, {"prompt": "p"})
    assert '"frames": 3' in shelf.report("0a")
    with open_clip(shelf.video("0a")) as reader:
        assert reader.info.fps == Fraction(24000, 1001)
        assert np.array_equal(np.stack(list(reader.frames(0, 3))), FRAMES)


def test_its_edit_file_says_all_of_the_edit(shelf: TakeShelf) -> None:
    store(shelf, "0a")
    made, read = edit(), load(shelf.video("0a").with_name("edit.toml"))
    assert (read.source, read.prompt, read.seed, read.range) == (
        str(made.clip),
        made.prompt,
        made.seed,
        (4, 7),
    )
    assert read.params == made.params
    assert (read.regions[0].name, read.regions[0].feather, read.regions[0].words) == (
        "left/right",
        3,
        ["star"],
    )
    names = sorted(path.name for path in (shelf.video("0a").parent / "masks" / "0").iterdir())
    assert names == ["000004.png", "000005.png", "000006.png"]
    assert read.condition_pictures == "condition/%06d.png"
    kept = [
        np.asarray(Image.open(shelf.video("0a").parent / (read.condition_pictures % n))) for n in (4, 5, 6)
    ]
    assert np.array_equal(np.stack(kept), FRAMES)


def test_a_draft_that_is_not_committed_leaves_nothing(shelf: TakeShelf, tmp_path: Path) -> None:
    def abandon() -> None:
        with shelf.draft("0a") as draft:
            draft.write_frames(iter(FRAMES), fps=Fraction(8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        abandon()
    assert list((tmp_path / "takes").iterdir()) == []
    assert not shelf.has("0a")


def test_what_a_killed_backend_left_is_swept_and_takes_are_not(shelf: TakeShelf, tmp_path: Path) -> None:
    store(shelf, "0a")
    for name in (".part-0b", ".trash-77"):
        (tmp_path / "takes" / name).mkdir()
        (tmp_path / "takes" / name / "take.mkv").write_bytes(b"half")
    shelf.sweep()
    assert [path.name for path in (tmp_path / "takes").iterdir()] == ["0a"]


def test_takes_are_listed_newest_first_and_a_damaged_one_hides_no_other(
    shelf: TakeShelf, caplog: pytest.LogCaptureFixture
) -> None:
    assert shelf.takes() == []
    now = time.time()
    for name, age in (("0a", 3), ("0b", 1), ("0c", 2)):
        store(shelf, name, made=now - age)
    (shelf.video("0c").parent / "take.json").write_text("{")
    assert [take.id for take in shelf.takes()] == ["0b", "0a"]
    assert "“0c” is damaged" in caplog.text


@pytest.mark.parametrize("name", ["", "..", "../takes/0a", "0A", "0a/masks", ".part-0a"])
def test_a_name_never_leads_out_of_the_shelf(shelf: TakeShelf, name: str) -> None:
    store(shelf, "0a")
    for call in (shelf.get, shelf.delete, shelf.report, shelf.has):
        with pytest.raises(NotFound):
            call(name)
    assert shelf.has("0a")
