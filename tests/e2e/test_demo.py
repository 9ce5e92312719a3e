"""The README's demo, as a newcomer runs it: the shipped weights, a real backend, a real edit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mattebox_backend.world.recognise import recognise
from mattebox_media import open_clip
from PIL import Image

from .conftest import Mattebox


@pytest.fixture(scope="module")
def demo(mattebox: Mattebox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    run = mattebox("demo", "-o", folder)
    assert run.returncode == 0, run.stderr
    return folder


def masks_of(folder: Path, region: str) -> np.ndarray:
    """(F, H, W) bool."""
    files = sorted((folder / "masks" / region).glob("*.png"))
    return np.stack([np.asarray(Image.open(file)) > 0 for file in files])


def colours_within(folder: Path, region: str) -> list[str]:
    """What colour the largest thing in the region is, frame by frame; "" where there is none."""
    masks = masks_of(folder, region)
    with open_clip(folder / "result.mkv") as result:
        seen = [recognise(np.asarray(result.frame(i)), within=mask) for i, mask in enumerate(masks)]
    return [str(sightings[0].colour) if sightings else "" for sightings in seen]


def test_each_region_becomes_what_its_own_prompt_says(demo: Path) -> None:
    left, right = colours_within(demo, "left"), colours_within(demo, "right")
    assert left.count("green") >= 0.9 * len(left)
    assert right.count("white") >= 0.9 * len(right)


def test_each_region_is_filled(demo: Path) -> None:
    with open_clip(demo / "result.mkv") as result:
        for region in ("left", "right"):
            for index, mask in enumerate(masks_of(demo, region)):
                seen = recognise(np.asarray(result.frame(index)), within=mask)
                assert seen[0].silhouette.sum() >= 0.75 * mask.sum(), (region, index)


def test_nothing_outside_the_regions_changes(demo: Path) -> None:
    free = masks_of(demo, "left") | masks_of(demo, "right")
    with open_clip(demo / "source.mkv") as source, open_clip(demo / "result.mkv") as result:
        for index, mask in enumerate(free):
            before, after = source.frame(index), result.frame(index)
            np.testing.assert_array_equal(after[~mask], before[~mask])
            assert (after[mask] != before[mask]).any()


def test_the_report_says_what_was_measured(demo: Path) -> None:
    report = json.loads((demo / "report.json").read_text())
    assert report["method"] == "st-modulator"
    assert report["frames"] == 16
    assert report["background_exact_share"] == 1.0
    assert not report["inversion_cached"]
    assert all(report["seconds"][stage] > 0 for stage in ("invert", "sample"))


def test_the_picture_shows_source_regions_and_result(demo: Path) -> None:
    with Image.open(demo / "side-by-side.png") as picture:
        assert picture.width > 5 * 128
        assert picture.height > 3 * 128


def test_another_prompt_on_the_same_clip_takes_the_inversion_from_the_cache(
    mattebox: Mattebox, demo: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(demo, folder)
    edit = folder / "edit.toml"
    edit.write_text(edit.read_text().replace("a green circle", "a purple circle"))
    run = mattebox("edit", edit, "-o", folder / "result.mkv", "--json", folder / "report.json")
    assert run.returncode == 0, run.stderr
    assert json.loads((folder / "report.json").read_text())["inversion_cached"]
    purples = colours_within(folder, "left")
    assert purples.count("purple") >= 0.9 * len(purples)
