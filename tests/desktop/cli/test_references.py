"""References of an edit file, as the command line reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mattebox_desktop.cli.rendering import prepare
from mattebox_media import open_clip
from mattebox_proto.codecs.frames import decode_image
from PIL import Image

Run = Callable[..., Any]
SIZE = 64
RED = (200, 10, 10)


def reference(image: str, more: str = "") -> tuple[str, str]:
    return "[params]", f'[[reference]]\nframe = 2\nimage = "{image}"\nregion = "left"\n{more}\n[params]'


def shown(work: Path) -> np.ndarray:
    """Frame 2 of the clip."""
    with open_clip(work / "clip.mkv") as reader:
        return reader.frame(2)


def sent(path: Path) -> np.ndarray:
    (made,) = prepare(path).message.references
    assert (made.frame, made.region) == (2, "left")
    return decode_image(made.image)


def test_a_picture_of_another_size_is_refused_with_the_remedy(
    mattebox: Run, work: Path, edit_file: Run
) -> None:
    Image.new("RGB", (48, 32), RED).save(work / "r.png")
    outcome = mattebox("edit", edit_file(reference("r.png")), "-o", work / "o.mkv")
    assert outcome.code == 2
    assert "r.png is 48x32, the clip is 64x64" in outcome.err
    assert 'fit = "cover" scales and crops it, fit = "contain"' in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_fit_makes_it_the_clips_size(work: Path, edit_file: Run) -> None:
    Image.new("RGB", (48, 32), RED).save(work / "r.png")
    covered = sent(edit_file(reference("r.png", 'fit = "cover"')))
    assert np.array_equal(covered, np.full((SIZE, SIZE, 3), RED))
    contained = sent(edit_file(reference("r.png", 'fit = "contain"')))
    rows = slice(10, 53)  # 32 rows of 48 columns are 43 of 64
    assert np.array_equal(contained[rows], np.full((43, SIZE, 3), RED))
    assert np.array_equal(contained[:10], shown(work)[:10])
    assert np.array_equal(contained[53:], shown(work)[53:])


def test_the_sources_frame_shows_through(work: Path, edit_file: Run) -> None:
    layer = Image.new("RGBA", (SIZE, SIZE))
    layer.paste((*RED, 255), (0, 0, 32, SIZE))
    layer.save(work / "r.webp", lossless=True)
    made = sent(edit_file(reference("r.webp")))
    assert np.array_equal(made[:, :32], np.full((SIZE, 32, 3), RED))
    assert np.array_equal(made[:, 32:], shown(work)[:, 32:])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "The reference of frame 2: “r.png” is empty"),
        (b"hello", "The reference of frame 2: “r.png” is no picture"),
    ],
)
def test_a_file_that_is_no_picture_is_said(
    mattebox: Run, work: Path, edit_file: Run, data: bytes, said: str
) -> None:
    (work / "r.png").write_bytes(data)
    outcome = mattebox("edit", edit_file(reference("r.png")), "-o", work / "o.mkv")
    assert outcome.code == 2
    assert said in outcome.err
