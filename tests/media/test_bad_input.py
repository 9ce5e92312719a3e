"""Files that are not what they should be: each ends in one sentence that names the file and what to do."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mattebox_media import MediaError, open_clip, write_clip
from mattebox_media.errors import ClipNotFound, DamagedFrame, MissingFrames, NotAVideo, TruncatedClip
from PIL import Image

_GOP = {"g": "10", "bf": "2"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClipNotFound, match=r"no file .*nowhere\.mp4"):
        open_clip(tmp_path / "nowhere.mp4")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", b"these are notes\n" * 100, "not a video"),
        ("notes.mp4", b"these are notes\n" * 100, "not a video"),
        ("noise.mkv", bytes(range(256)) * 40, "not a video"),
        ("empty.mp4", b"", "empty file"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "not a video"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video"),
    ],
)
def test_what_is_no_video_is_refused(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotAVideo, match=words) as caught:
        open_clip(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_a_picture_and_a_sound_are_no_videos(
    tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    with pytest.raises(NotAVideo, match="is a folder"):
        open_clip(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    with pytest.raises(NotAVideo, match="not a video"):
        open_clip(tmp_path / "one.png")
    from wave import open as open_wave

    with open_wave(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))
    with pytest.raises(NotAVideo, match="only sound"):
        open_clip(tmp_path / "sound.wav")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.mov"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_cut_short_is_never_a_shorter_clip(
    name: str, share: float, tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    whole = make_video(tmp_path / name, range(60), codec=codec, options=_GOP)
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(TruncatedClip, match="cut off") as caught:
        open_clip(whole)
    assert str(whole) in str(caught.value)


def test_the_last_good_frame_of_a_cut_file_is_named(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    path = make_video(
        tmp_path / "fast.mp4", range(60), options=_GOP, container_options={"movflags": "+faststart"}
    )
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(TruncatedClip, match=r"the last good frame is \d+") as caught:
        open_clip(path)
    last = caught.value.last_good_frame
    assert last is not None
    assert 10 < last < 58


def test_a_damaged_frame_is_named_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    pattern = tmp_path / "%02d.png"
    frames = [np.random.default_rng(i).integers(0, 256, (64, 96, 3)).astype(np.uint8) for i in range(4)]
    write_clip(pattern, frames, fps=Fraction(24))
    broken = tmp_path / "02.png"
    broken.write_bytes(broken.read_bytes()[:5000])
    with open_clip(pattern) as reader:
        with pytest.raises(
            DamagedFrame, match=r"Frame 2 of .*02\.png is damaged.*last good frame.* 1"
        ) as caught:
            reader.frame(2)
        assert caught.value.frame == 2
        assert np.array_equal(reader.frame(3), frames[3])


def test_gaps_in_a_sequence_are_listed(tmp_path: Path) -> None:
    for number in (3, 4, 6, 10):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number:04d}.png")
    with pytest.raises(MissingFrames, match=r"lacks number 5, 7-9") as caught:
        open_clip(tmp_path / "%04d.png")
    assert caught.value.missing == (5, 7, 8, 9)


def test_a_sequence_may_begin_at_any_number_and_ignores_its_neighbours(tmp_path: Path) -> None:
    for number in range(98, 103):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"shot_{number}.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "other_001.png")
    with open_clip(tmp_path / "shot_%d.png", sequence_fps=Fraction(25)) as reader:
        assert reader.info.frame_count == 5
        assert [int(frame[0, 0, 0]) for frame in reader.frames(0, 5)] == [98, 99, 100, 101, 102]
        assert reader.times(4, 5) == [Fraction(4, 25)]
        assert reader.info.kind == "sequence"


def test_padded_and_plain_numbers_are_told_apart(tmp_path: Path) -> None:
    for name in ("0001.png", "0002.png", "3.png", "10000.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    with pytest.raises(MissingFrames):  # 10000 fits %04d, as it does for printf
        open_clip(tmp_path / "%04d.png")
    (tmp_path / "10000.png").unlink()
    with open_clip(tmp_path / "%04d.png") as reader:
        assert reader.info.frame_count == 2


def test_pictures_of_another_size_in_a_sequence_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    Image.new("RGB", (9, 8)).save(tmp_path / "2.png")
    with open_clip(tmp_path / "%d.png") as reader, pytest.raises(DamagedFrame, match="9x8 RGB 8 bit"):
        reader.frame(1)


@pytest.mark.parametrize(("name", "kind"), [("%d.png", ClipNotFound), ("%d.tif", NotAVideo)])
def test_a_pattern_without_files_is_refused(name: str, kind: type[MediaError], tmp_path: Path) -> None:
    with pytest.raises(kind, match=name.replace(".", r"\.")):
        open_clip(tmp_path / name)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1"])
def test_every_kind_of_png_becomes_rgb_or_rgba(mode: str, tmp_path: Path) -> None:
    Image.new("RGBA" if "A" in mode else "RGB", (8, 8), (200,) * 3).convert(mode).save(tmp_path / "1.png")
    with open_clip(tmp_path / "%d.png") as reader:
        frame = reader.frame(0)
        assert frame.shape[2] == (4 if "A" in mode else 3)
        assert abs(int(frame[0, 0, 0]) - 200) <= (60 if mode in "1P" else 3)


def test_jpeg_sequences_are_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    Image.new("RGB", (32, 16), (10, 200, 30)).save(tmp_path / "7.jpg", exif=exif, quality=95)
    with open_clip(tmp_path / "%d.jpg") as reader:
        assert (reader.info.width, reader.info.height) == (16, 32)
        assert np.abs(reader.frame(0).astype(int) - (10, 200, 30)).max() < 6
