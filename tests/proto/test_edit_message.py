from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mattebox_proto.codecs.frames import decode_image
from mattebox_proto.codecs.masks import decode_track
from mattebox_proto.codecs.params import decode_params
from mattebox_proto.editfile import edit_message, parse
from mattebox_proto.editfile.shapes import at, box_mask, ellipse_mask
from mattebox_proto.editfile.spec import Keyframe
from mattebox_proto.errors import InvalidEditFile
from mattebox_proto.mattebox.v1 import clips_pb2, edit_pb2

CLIP = clips_pb2.Clip(id="hash", width=8, height=6, frames=10)
HEAD = 'source = "a.mp4"\nprompt = "two dogs"\n'
REGION = '[[region]]\nname = "cat"\nprompt = "a dog"\n'
BOX = "box = [0, 0, 2, 2]\n"


def read_numbers(path: Path) -> np.ndarray:
    """A "picture" of this test: a text file with the picture's size and its one value."""
    height, width, value = map(int, path.read_text().split())
    return np.full((height, width), value, np.uint8)


def read_colors(path: Path) -> np.ndarray:
    return np.repeat(read_numbers(path)[..., None], 3, axis=2)


def read_reference(path: Path, frame: int, fit: str | None) -> np.ndarray:
    """With a fit: a picture of the clip's size that says what was asked for."""
    picture = read_colors(path)
    return picture if fit is None else np.full((6, 8, 3), [picture[0, 0, 0], frame, len(fit)], np.uint8)


def message(text: str, folder: Path = Path(), progress: object = None) -> edit_pb2.Edit:
    edit = parse(tomllib.loads(text))
    return edit_message(
        edit,
        CLIP,
        folder=folder,
        read_mask=read_numbers,
        read_image=read_colors,
        read_reference=read_reference,
        progress=progress,  # type: ignore[arg-type]
    )


def reference(image: str, frame: int) -> str:
    return f'[[reference]]\nframe = {frame}\nimage = "{image}"\nregion = "cat"\n'


def masks(made: edit_pb2.Edit) -> np.ndarray:
    return decode_track(made.regions[0].masks, frames=made.stop - made.start, height=6, width=8)


def test_a_box_marks_exactly_its_pixels_in_every_frame() -> None:
    made = message(HEAD + REGION + "box = [1, 2, 3, 4]\n")
    expected = np.zeros((6, 8), np.uint8)
    expected[2:6, 1:4] = 255
    assert (made.start, made.stop, made.clip) == (0, 10, "hash")
    assert np.array_equal(masks(made), np.broadcast_to(expected, (10, 6, 8)))


def test_keyframes_count_in_frames_of_the_source_and_move_in_a_straight_line() -> None:
    keys = "box = [{frame = 2, value = [0, 0, 1, 1]}, {frame = 6, value = [4, 0, 1, 1]}]\n"
    made = message("range = [1, 9]\n" + HEAD + REGION + keys)
    lefts = [int(mask.any(axis=0).argmax()) for mask in masks(made)]
    assert lefts == [0, 0, 1, 2, 3, 4, 4, 4]  # frames 1 to 8: held, moving from 2 to 6, held


@given(
    st.lists(
        st.tuples(st.integers(0, 99), *[st.floats(-50, 50)] * 4), min_size=1, unique_by=lambda key: key[0]
    ),
    st.integers(0, 120),
)
def test_a_shape_stays_within_its_keyframes(
    keys: list[tuple[int, float, float, float, float]], frame: int
) -> None:
    shape = [Keyframe(frame=key[0], value=key[1:]) for key in sorted(keys)]
    for i, value in enumerate(at(shape, frame)):
        assert min(key.value[i] for key in shape) - 1e-9 <= value <= max(key.value[i] for key in shape) + 1e-9
    for key in shape:
        assert at(shape, key.frame) == pytest.approx(key.value)


def test_an_ellipse_has_its_area_and_its_symmetry() -> None:
    mask = ellipse_mask((50, 40, 30, 20), 80, 100)
    assert (mask > 0).sum() == pytest.approx(np.pi * 30 * 20, rel=0.01)
    assert np.array_equal(mask, mask[::-1, ::-1])


def test_shapes_beyond_the_picture_are_cut_at_its_border() -> None:
    assert box_mask((-5, -5, 7, 100), 6, 8)[:, :2].all()
    assert not box_mask((-5, -5, 7, 100), 6, 8)[:, 2:].any()
    assert not box_mask((20, 0, 5, 5), 6, 8).any()
    assert ellipse_mask((0, 0, 100, 100), 6, 8).all()


def test_numbered_masks_are_found_by_the_sources_frame_numbers(tmp_path: Path) -> None:
    for frame in range(10):
        (tmp_path / f"{frame:03d}.txt").write_text(f"6 8 {frame + 1}")
    made = message("range = [4, 7]\n" + HEAD + REGION + 'mask = "%03d.txt"\n', tmp_path)
    assert [int(mask[0, 0]) for mask in masks(made)] == [5, 6, 7]


def test_one_mask_serves_every_frame_and_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("6 8 9")
    steps: list[tuple[int, int]] = []
    made = message(HEAD + REGION + 'mask = "m.txt"\n', tmp_path, lambda done, of: steps.append((done, of)))
    assert (masks(made) == 9).all()
    assert sum(frame.repeat for frame in made.regions[0].masks.frames) == 9
    assert steps[-1] == (10, 10)


def test_everything_else_is_carried_over(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("6 8 7")
    (tmp_path / "model").mkdir()
    made = message(
        'seed = 5\nmethod = "reatco"\nbackbone = "model"\nsource_prompt = "two cats"\n'
        + HEAD
        + REGION
        + 'box = [0, 0, 2, 2]\nmode = "dilated"\ndilation = 3\nfeather = 4\norder = -1\nwords = ["dog"]\n'
        + 'color = "#ff0000"\n[[reference]]\nframe = 3\nimage = "r.txt"\nregion = "cat"\n'
        + "[params]\nsteps = 20\n",
        tmp_path,
    )
    region = made.regions[0]
    assert (made.seed, made.method, made.source_prompt, made.prompt) == (5, "reatco", "two cats", "two dogs")
    assert made.backbone == str(tmp_path / "model")
    assert (region.mode, region.dilation, region.feather, region.order) == (
        edit_pb2.MASK_MODE_DILATED,
        3,
        4,
        -1,
    )
    assert (region.name, region.prompt, list(region.words), region.color) == (
        "cat",
        "a dog",
        ["dog"],
        "#ff0000",
    )
    assert made.references[0].frame == 3
    assert (decode_image(made.references[0].image) == 7).all()
    assert decode_params(made.params) == {"steps": 20}


def test_a_hub_id_stays_what_it_is(tmp_path: Path) -> None:
    made = message('backbone = "someone/model"\n' + HEAD + REGION + "box = [0, 0, 2, 2]\n", tmp_path)
    assert made.backbone == "someone/model"


@pytest.mark.parametrize(
    ("head", "where", "said"),
    [
        (
            "range = [0, 11]\n",
            "box = [0, 0, 2, 2]\n",
            r"range = \[0, 11\] goes beyond the clip: a.mp4 has 10 frames",
        ),
        ("", "box = [20, 20, 2, 2]\n", "Region 'cat' is empty"),
        ("", 'mask = "black.txt"\n', "Region 'cat' is empty"),
        ("", 'mask = "%d.txt"\n', "the mask of frame 0 is missing"),
        ("range = [3, 5]\n", 'mask = "only%d.txt"\n', "the mask of frame 4 is missing"),
        ("", 'mask = "small.txt"\n', "small.txt is 4x3, the clip is 8x6"),
    ],
)
def test_masks_that_do_not_fit_are_said_in_words(tmp_path: Path, head: str, where: str, said: str) -> None:
    (tmp_path / "black.txt").write_text("6 8 0")
    (tmp_path / "small.txt").write_text("3 4 255")
    (tmp_path / "only3.txt").write_text("6 8 255")
    with pytest.raises(InvalidEditFile, match=said):
        message(head + HEAD + REGION + where, tmp_path)


@pytest.mark.parametrize(
    ("image", "frame", "said"),
    [
        ("none.txt", 3, "is missing"),
        ("small.txt", 3, 'is 4x3, the clip is 8x6; .* fit = "cover" .* fit = "contain"'),
        ("small.txt", 10, r"frame 10 lies outside the range \[0, 10\]"),
    ],
)
def test_references_that_do_not_fit_are_said_in_words(
    tmp_path: Path, image: str, frame: int, said: str
) -> None:
    (tmp_path / "small.txt").write_text("3 4 255")
    with pytest.raises(InvalidEditFile, match=said):
        message(HEAD + REGION + BOX + reference(image, frame), tmp_path)


@pytest.mark.parametrize("fit", ["cover", "contain"])
def test_a_fit_is_handed_on_with_the_frame_it_is_of(tmp_path: Path, fit: str) -> None:
    (tmp_path / "small.txt").write_text("3 4 255")
    made = message(HEAD + REGION + BOX + reference("small.txt", 3) + f'fit = "{fit}"\n', tmp_path)
    assert decode_image(made.references[0].image)[0, 0].tolist() == [255, 3, len(fit)]


def test_more_references_than_a_message_carries_are_refused_before_they_are_read() -> None:
    edit = parse(tomllib.loads(HEAD + REGION + BOX + "".join(reference("no.txt", i) for i in range(9))))
    clip = clips_pb2.Clip(id="hash", width=3840, height=2160, frames=40)
    with pytest.raises(InvalidEditFile, match=r"The 9 references of 3840x2160 take 213 MiB.*; take some out"):
        edit_message(
            edit,
            clip,
            folder=Path(),
            read_mask=read_numbers,
            read_image=read_colors,
            read_reference=read_reference,
        )


def test_condition_pictures_follow_the_sources_frame_numbers_or_stand_still(tmp_path: Path) -> None:
    for frame in range(10):
        (tmp_path / f"d{frame:02d}.txt").write_text(f"6 8 {frame + 1}")
    box = REGION + "box = [0, 0, 2, 2]\n"
    moving = message('range = [4, 7]\ncondition_pictures = "d%02d.txt"\n' + HEAD + box, tmp_path)
    pictures = [decode_image(picture) for picture in moving.condition_pictures]
    assert [picture.shape for picture in pictures] == [(6, 8, 3)] * 3
    assert [int(picture[0, 0, 0]) for picture in pictures] == [5, 6, 7]
    still = message('range = [4, 7]\ncondition_pictures = "d03.txt"\n' + HEAD + box, tmp_path)
    assert [int(decode_image(picture)[0, 0, 0]) for picture in still.condition_pictures] == [4, 4, 4]
    assert not message(HEAD + box).condition_pictures


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("none%d.txt", "The condition picture of frame 0 is missing"),
        ("small.txt", "small.txt is 4x3, the clip is 8x6"),
        ("%d/%d.txt", "has more than one frame number"),
        ("%s.txt", "no frame number"),
    ],
)
def test_condition_pictures_that_do_not_fit_are_said_in_words(
    tmp_path: Path, pattern: str, said: str
) -> None:
    (tmp_path / "small.txt").write_text("3 4 255")
    with pytest.raises(InvalidEditFile, match=said):
        message(f'condition_pictures = "{pattern}"\n' + HEAD + REGION + "box = [0, 0, 2, 2]\n", tmp_path)


def test_more_condition_pictures_than_a_message_carries_are_refused_before_they_are_read() -> None:
    edit = parse(tomllib.loads('condition_pictures = "none.txt"\n' + HEAD + REGION + "box = [0, 0, 9, 9]\n"))
    clip = clips_pb2.Clip(id="hash", width=1920, height=1080, frames=40)
    with pytest.raises(InvalidEditFile, match="40 frames of 1920x1080 take 237 MiB, and an edit carries 192"):
        edit_message(
            edit,
            clip,
            folder=Path(),
            read_mask=read_numbers,
            read_image=read_colors,
            read_reference=read_reference,
        )
