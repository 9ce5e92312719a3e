from __future__ import annotations

from importlib.resources import as_file
from pathlib import Path

import mattebox_resources
import numpy as np
from mattebox_backend.bench.demo import demo_scene, write_demo
from mattebox_backend.world import render
from mattebox_media import open_clip
from mattebox_proto.editfile import load


def _frames(folder: Path) -> np.ndarray:
    with open_clip(folder / "source.mkv") as clip:
        return np.stack(list(clip.frames(0, clip.info.frame_count)))


def test_the_shipped_demo_is_what_the_script_makes(tmp_path: Path) -> None:
    write_demo(tmp_path)
    with as_file(mattebox_resources.demo()) as shipped:
        assert np.array_equal(_frames(shipped), _frames(tmp_path))
        for path in sorted(tmp_path.rglob("*.*")):
            if path.suffix != ".mkv":
                assert (shipped / path.relative_to(tmp_path)).read_bytes() == path.read_bytes()
        assert sum(path.stat().st_size for path in shipped.rglob("*.mkv")) < 300_000


def test_the_demo_clip_is_lossless_and_its_edit_file_loads(tmp_path: Path) -> None:
    write_demo(tmp_path)
    assert np.array_equal(_frames(tmp_path), render(demo_scene()).frames)
    edit = load(tmp_path / "edit.toml")
    assert [region.name for region in edit.regions] == ["left", "right"]
    assert all(region.prompt in edit.prompt for region in edit.regions)
