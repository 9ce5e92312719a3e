"""What is written comes back: pixels, sizes, depth, transparency, times and tags; whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from mattebox_media import ColorTags, OutputFormat, check_output, open_clip, write_clip
from mattebox_media.errors import FrameMismatch, OutputFailed, OutputFull, UnsupportedOutput
from numpy.typing import NDArray

_SIZES = [(64, 96), (65, 97), (64, 97), (33, 17)]


def noise(count: int, size: tuple[int, int], channels: int, dtype: Any, seed: int = 0) -> list[NDArray[Any]]:
    """Pictures of pure noise: nothing can be guessed."""
    random = np.random.default_rng(seed)
    top = int(np.iinfo(dtype).max) + 1
    return [random.integers(0, top, (*size, channels)).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("name", ["take.mkv", "take/%04d.png"])
@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_formats_are_lossless_at_any_size_and_depth(
    name: str, size: tuple[int, int], dtype: Any, channels: int, tmp_path: Path
) -> None:
    frames = noise(3, size, channels, dtype)
    assert write_clip(tmp_path / name, frames, fps=Fraction(24)) == 3
    with open_clip(tmp_path / name) as reader:
        assert reader.info.has_alpha == (channels == 4)
        assert reader.info.bit_depth == (8 if dtype == np.uint8 else 16)
        for written, read in zip(frames, reader.frames(0, 3), strict=True):
            assert read.dtype == dtype
            assert np.array_equal(written, read)


_LOSSY = [
    ("take.mp4", None, "h264", 3),
    ("take.mp4", OutputFormat.HEVC, "hevc", 3),
    ("take.mov", None, "prores", 3),
    ("take.mov", None, "prores", 4),
]


@pytest.mark.parametrize(("name", "chosen", "codec", "channels"), _LOSSY)
@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossy_formats_keep_size_depth_and_look(
    name: str,
    chosen: OutputFormat | None,
    codec: str,
    channels: int,
    size: tuple[int, int],
    dtype: Any,
    tmp_path: Path,
) -> None:
    top = int(np.iinfo(dtype).max)
    ramp = np.linspace(0.1, 0.9, size[1])[None, :, None] * np.array([1, 0.8, 0.6, 0.9])[:channels]
    frames = [
        (np.broadcast_to(ramp * level, (*size, channels)) * top).astype(dtype) for level in (0.4, 0.7, 1)
    ]
    write_clip(tmp_path / name, frames, fps=Fraction(24), format=chosen)
    with open_clip(tmp_path / name) as reader:
        assert (reader.info.codec, reader.info.height, reader.info.width) == (codec, *size)
        assert reader.info.frame_count == 3
        assert (reader.info.bit_depth > 8) == (dtype == np.uint16 or codec == "prores")
        for written, read in zip(frames, reader.frames(0, 3), strict=True):
            error = written / top - read / np.iinfo(read.dtype).max
            assert np.abs(error).mean() < 2.5 / 255
            assert np.abs(error).max() < 20 / 255


def test_tags_are_carried_over_and_steer_the_conversion(tmp_path: Path) -> None:
    tags = ColorTags("bt2020", "smpte2084", "bt2020nc", "limited")
    frames = [np.full((64, 64, 3), (200, 60, 30), np.uint8)] * 2
    for name in ("take.mp4", "take.mov"):
        write_clip(tmp_path / name, frames, fps=Fraction(24), color=tags)
        with open_clip(tmp_path / name) as reader:
            assert reader.info.color == tags
            top = np.iinfo(reader.frame(0).dtype).max
            assert np.allclose(reader.frame(0)[30, 30] / top * 255, (200, 60, 30), atol=4)
    write_clip(tmp_path / "take.mkv", frames, fps=Fraction(24), color=tags)
    with open_clip(tmp_path / "take.mkv") as reader:
        assert reader.info.color == ColorTags("bt2020", "smpte2084", "gbr", "full")


def test_an_untagged_output_is_tagged_bt709(tmp_path: Path) -> None:
    write_clip(tmp_path / "take.mp4", noise(2, (64, 64), 3, np.uint8), fps=Fraction(24))
    with open_clip(tmp_path / "take.mp4") as reader:
        assert reader.info.color == ColorTags("bt709", "bt709", "bt709", "limited")


@pytest.mark.parametrize("name", ["take.mp4", "take.mov", "take.mkv"])
def test_uneven_times_are_kept(name: str, tmp_path: Path) -> None:
    times = [Fraction(n, 100) for n in (0, 4, 5, 11, 30)]
    later = [time + 7 for time in times]
    write_clip(tmp_path / name, noise(5, (64, 64), 3, np.uint8), fps=Fraction(25), times=later)
    with open_clip(tmp_path / name) as reader:
        assert reader.times(0, 5) == times
        assert reader.info.variable_frame_rate


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), Fraction(15, 2)])
def test_the_frame_rate_is_exact(fps: Fraction, tmp_path: Path) -> None:
    for name in ("take.mp4", "take.mov", "take.mkv"):
        write_clip(tmp_path / name, noise(9, (64, 64), 3, np.uint8), fps=fps)
        with open_clip(tmp_path / name) as reader:
            assert (reader.info.fps, reader.info.variable_frame_rate) == (fps, False)


def test_pixel_aspect_is_carried(tmp_path: Path) -> None:
    write_clip(
        tmp_path / "dv.mov", noise(2, (64, 64), 3, np.uint8), fps=Fraction(25), pixel_aspect=Fraction(16, 15)
    )
    with open_clip(tmp_path / "dv.mov") as reader:
        assert reader.info.pixel_aspect == Fraction(16, 15)


def test_frames_are_taken_one_by_one(tmp_path: Path) -> None:
    alive: list[int] = []

    def frames() -> Iterator[NDArray[np.uint8]]:
        for index in range(30):
            alive.append(index)
            yield np.full((64, 64, 3), index, np.uint8)

    assert write_clip(tmp_path / "take.mkv", frames(), fps=Fraction(25)) == 30
    assert len(alive) == 30


@pytest.mark.parametrize("name", ["take.mp4", "take.mkv", "frames/%04d.png"])
def test_a_failure_in_mid_write_leaves_the_old_file_and_nothing_else(name: str, tmp_path: Path) -> None:
    write_clip(tmp_path / name, noise(3, (64, 64), 3, np.uint8), fps=Fraction(25))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    def failing() -> Iterator[NDArray[np.uint8]]:
        yield from noise(5, (64, 64), 3, np.uint8, seed=1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_clip(tmp_path / name, failing(), fps=Fraction(25))
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


_FULL_DISK = """
import resource, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from mattebox_media import write_clip
from mattebox_media.errors import OutputFull
random = np.random.default_rng(0)
frames = (random.integers(0, 256, (128, 128, 3)).astype(np.uint8) for _ in range(10))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_clip(Path(sys.argv[1]), frames, fps=Fraction(25))
except OutputFull as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["take.mp4", "take.mov", "take.mkv", "frames/%04d.png"])
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if "%" not in name:
        path.write_bytes(b"the good old take")
    result = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert "larger than allowed here" in result.stdout, result.stderr
    assert [file.name for file in tmp_path.rglob("*")] == ([] if "%" in name else [name])
    if "%" not in name:
        assert path.read_bytes() == b"the good old take"


def test_every_number_of_a_full_disk_means_output_full(tmp_path: Path) -> None:
    def full() -> Iterator[NDArray[np.uint8]]:
        yield from noise(4, (64, 64), 3, np.uint8)
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputFull, match=r"take\.mkv.*the disk is full.*free some space"):
        write_clip(tmp_path / "take.mkv", full(), fps=Fraction(25))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "chosen", "words"),
    [
        ("take.wmv", None, "use .mp4"),
        ("take", None, "use .mp4"),
        ("take.png", None, "number pattern"),
        ("take_%04d.mp4", None, "no % in its name"),
        ("take.mp4", OutputFormat.FFV1, "does not hold ffv1"),
        ("take.mkv", OutputFormat.PNG, "does not hold png"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_any_work(
    name: str, chosen: OutputFormat | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedOutput, match=words):
        check_output(tmp_path / name, format=chosen)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match=r"there is no folder .*missing"):
        check_output(tmp_path / "missing" / "take.mp4")
    assert check_output(tmp_path / "new" / "%04d.png") is OutputFormat.PNG


def test_transparency_is_never_dropped_silently(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOutput, match="transparency"):
        write_clip(tmp_path / "take.mp4", noise(2, (64, 64), 4, np.uint8), fps=Fraction(25))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frames", "times", "words"),
    [
        ([], None, "no frame to write"),
        (noise(1, (64, 64), 3, np.uint8) + noise(1, (64, 66), 3, np.uint8), None, "Frame 1 .*must be alike"),
        ([np.zeros((64, 64, 3), np.float32)], None, "uint8 or uint16"),
        ([np.zeros((64, 64), np.uint8)], None, "uint8 or uint16"),
        (noise(3, (64, 64), 3, np.uint8), [Fraction(0), Fraction(1)], "more frames than the 2 times"),
        (noise(1, (64, 64), 3, np.uint8), [Fraction(0), Fraction(1)], "1 frames but 2 times"),
        (noise(2, (64, 64), 3, np.uint8), [Fraction(1), Fraction(1)], "must rise"),
    ],
)
def test_frames_that_do_not_fit_are_named(
    frames: list[NDArray[Any]], times: list[Fraction] | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(FrameMismatch, match=words):
        write_clip(tmp_path / "take.mkv", frames, fps=Fraction(25), times=times)
    assert list(tmp_path.iterdir()) == []


def test_a_shorter_sequence_does_not_mix_with_an_older_longer_one(tmp_path: Path) -> None:
    pattern = tmp_path / "out" / "%04d.png"
    write_clip(pattern, noise(5, (16, 16), 3, np.uint8), fps=Fraction(25))
    before = (tmp_path / "out" / "0000.png").read_bytes()
    with pytest.raises(OutputFailed, match=r"2 more pictures of an earlier sequence \(such as 0003\.png\)"):
        write_clip(pattern, noise(3, (16, 16), 3, np.uint8, seed=1), fps=Fraction(25))
    assert (tmp_path / "out" / "0000.png").read_bytes() == before
    write_clip(pattern, noise(5, (16, 16), 3, np.uint8, seed=1), fps=Fraction(25))
    assert (tmp_path / "out" / "0000.png").read_bytes() != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_pictures_in_a_folder_that_stands_are_made_in_it_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies around it may be another disk, or closed to this user."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "notes.txt").write_text("kept")
    around: list[list[str]] = []

    def frames() -> Iterator[NDArray[np.uint8]]:
        for picture in noise(2, (16, 16), 3, np.uint8):
            yield picture
            around.append([path.name for path in tmp_path.iterdir()])

    monkeypatch.chdir(folder)
    assert write_clip("%04d.png", frames(), fps=Fraction(25)) == 2
    assert around == [["out"], ["out"]]
    assert sorted(path.name for path in folder.iterdir()) == ["0000.png", "0001.png", "notes.txt"]


_NO_RIGHTS = """
import os
from mattebox_media import check_output
if os.getuid() == 0:
    os.setuid(65534)
for name in ("/take.mkv", "/%04d.png", "/new/%04d.png"):
    try:
        check_output(name)
    except Exception as error:
        print(error)
"""


def test_a_folder_that_may_not_be_written_is_found_before_any_work() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _NO_RIGHTS],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert result.stdout.splitlines() == [
        f"{name} cannot be written: this user may not write in the folder /; "
        "change its permissions or choose another folder."
        for name in ("/take.mkv", "/%04d.png", "/new/%04d.png")
    ], result.stderr


def test_errors_of_ffmpeg_are_sentences_too(tmp_path: Path) -> None:
    def damaged() -> Iterator[NDArray[np.uint8]]:
        yield from noise(4, (64, 64), 3, np.uint8)
        av.CodecContext.create("h264", "r").decode(av.Packet(b"\0\0\0\1\x67 no picture"))

    with pytest.raises(OutputFailed, match=r"take\.mkv could not be written: invalid data"):
        write_clip(tmp_path / "take.mkv", damaged(), fps=Fraction(25))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shortest_clips_can_be_hevc(count: int, tmp_path: Path) -> None:
    """Again and again: what went wrong came of memory that held whatever was in it before."""
    for seed in range(12):
        frames = noise(count, (64, 64), 3, np.uint8, seed)
        write_clip(tmp_path / "t.mp4", frames, fps=Fraction(25), format=OutputFormat.HEVC)
        with open_clip(tmp_path / "t.mp4") as reader:
            assert reader.info.frame_count == count
            assert reader.times(0, count) == [Fraction(index, 25) for index in range(count)]


def test_hevc_carries_the_tag_that_players_ask_for(tmp_path: Path) -> None:
    write_clip(
        tmp_path / "t.mp4", noise(2, (64, 64), 3, np.uint8), fps=Fraction(25), format=OutputFormat.HEVC
    )
    with av.open(str(tmp_path / "t.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
