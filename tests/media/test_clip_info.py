"""What a clip is: turned the right way up, with its depth, transparency, tags and sound."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from mattebox_media import ColorTags, open_clip
from mattebox_media.cache import FrameCache
from mattebox_media.errors import NotAVideo
from numpy.typing import NDArray


@pytest.mark.parametrize(("degrees", "shown"), [(90, 90), (180, 180), (-90, 270), (0, 0)])
def test_the_rotation_flag_turns_the_picture(
    degrees: int,
    shown: int,
    tmp_path: Path,
    make_video: Callable[..., Path],
    stamp: Callable[..., NDArray[Any]],
) -> None:
    lossless = {"options": {"qp": "0"}, "pixel_format": "yuv444p", "size": (96, 64)}
    path = make_video(tmp_path / "phone.mp4", [5, 77], rotate=degrees, **lossless)
    upright = np.rot90(stamp(77), degrees // 90)
    with open_clip(path) as reader:
        assert reader.info.rotation == shown
        assert (reader.info.height, reader.info.width) == upright.shape[:2]
        frame = reader.frame(1)
        assert frame.shape == upright.shape
        assert frame.flags.c_contiguous
        assert np.abs(frame.astype(int) - upright).max() <= 4


def test_a_mirrored_display_matrix_mirrors(
    tmp_path: Path, make_video: Callable[..., Path], stamp: Callable[..., NDArray[Any]]
) -> None:
    one = 1 << 16
    path = make_video(
        tmp_path / "mirror.mp4",
        [5],
        matrix=(-one, 0, 0, 0, one, 0, 96 * one, 0, 1 << 30),
        options={"qp": "0"},
        pixel_format="yuv444p",
    )
    with open_clip(path) as reader:
        assert np.abs(reader.frame(0).astype(int) - stamp(5)[:, ::-1]).max() <= 4


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "depth", "alpha"),
    [
        ("a.mp4", "libx264", "yuv420p", 8, False),
        ("a.mp4", "libx264", "yuv422p10le", 10, False),
        ("a.mkv", "ffv1", "yuv420p16le", 16, False),
        ("a.mkv", "ffv1", "gbrp10le", 10, False),
        ("a.mkv", "ffv1", "gray", 8, False),
        ("a.mkv", "ffv1", "yuva420p", 8, True),
        ("a.mkv", "ffv1", "gbrap12le", 12, True),
        ("a.mkv", "ffv1", "bgra", 8, True),
        ("a.avi", "mjpeg", "yuvj420p", 8, False),
    ],
)
def test_depth_and_transparency_are_kept(
    name: str,
    codec: str,
    pixel_format: str,
    depth: int,
    alpha: bool,
    tmp_path: Path,
    make_video: Callable[..., Path],
    read_stamp: Callable[..., int],
) -> None:
    path = make_video(tmp_path / name, [9, 130], codec=codec, pixel_format=pixel_format)
    with open_clip(path) as reader:
        assert (reader.info.bit_depth, reader.info.has_alpha) == (depth, alpha)
        frame = reader.frame(1)
        assert frame.dtype == (np.uint8 if depth == 8 else np.uint16)
        assert frame.shape == (64, 96, 4 if alpha else 3)
        assert frame.nbytes == reader.info.frame_bytes
        assert read_stamp(frame) == 130
        if alpha:
            assert (frame[..., 3] == np.iinfo(frame.dtype).max).all()


# Kr and Kb of each matrix (ITU-R BT.601, BT.709, BT.2020).
_MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


@pytest.mark.parametrize("matrix", [1, 2, 5, 6, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("size", [(64, 64), (1280, 16)])
def test_colours_follow_the_tagged_matrix_and_range(
    matrix: int, full: bool, pixel_format: str, size: tuple[int, int], tmp_path: Path
) -> None:
    scale = 4 if pixel_format.endswith("10le") else 1
    levels = (100, 90, 170)
    frame = av.VideoFrame(*size, pixel_format)
    for plane, level in zip(frame.planes, levels, strict=True):
        width = np.uint8 if scale == 1 else np.uint16
        plane.update(np.full(plane.buffer_size // np.dtype(width).itemsize, level * scale, width).tobytes())
    path = tmp_path / "flat.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        frame.colorspace, frame.color_range, frame.pts = matrix, 2 if full else 1, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    # Where the file does not say, BT.709 for large pictures and BT.601 for small ones.
    kr, kb = _MATRICES[matrix if matrix != 2 else (1 if size[0] >= 1280 else 6)]
    y, cb, cr = levels[0] / 255, (levels[1] - 128) / 255, (levels[2] - 128) / 255
    if not full:
        y, cb, cr = (levels[0] - 16) / 219, (levels[1] - 128) / 224, (levels[2] - 128) / 224
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    expected = np.array([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue]) * 255
    with open_clip(path) as reader:
        read = reader.frame(0)[8, 32].astype(float) * 255 / np.iinfo(reader.frame(0).dtype).max
    assert np.abs(read - expected).max() <= (3 if scale == 1 else 0.7)


def test_white_of_ten_bit_is_full_scale(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    frame = av.VideoFrame(64, 64, "yuv444p10le")
    for plane, level in zip(frame.planes, (940, 512, 512), strict=True):
        plane.update(np.full(plane.buffer_size // 2, level, np.uint16).tobytes())
    with av.open(str(tmp_path / "white.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p10le"
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_clip(tmp_path / "white.mkv") as reader:
        assert (reader.frame(0) == 65535).all()


def test_tags_and_sound_are_reported(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    path = make_video(tmp_path / "tagged.mp4", range(30), tags=(9, 16, 9, 1), tone=440)
    with open_clip(path) as reader:
        assert reader.info.color == ColorTags("bt2020", "smpte2084", "bt2020nc", "limited")
        assert reader.info.has_audio
    with open_clip(make_video(tmp_path / "plain.mp4", [0])) as reader:
        assert reader.info.color == ColorTags()
        assert not reader.info.has_audio
        assert reader.info.frame_count == 1


def test_unknown_tag_names_are_refused() -> None:
    with pytest.raises(ValueError, match="Unknown colour matrix 'rec709'"):
        ColorTags(matrix="rec709")


def test_the_keyframe_before_a_frame_is_known(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    path = make_video(tmp_path / "keys.mp4", range(40), options={"x264-params": "keyint=10:scenecut=0"})
    with open_clip(path) as reader:
        assert [reader.keyframe_before(frame) for frame in (5, 10, 19, 35)] == [0, 10, 10, 30]


def spoil(path: Path) -> None:
    """Other bytes, but the same size and date: only who reads the file through can tell."""
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_clip_that_is_opened_again_unchanged_is_not_read_through_again(
    tmp_path: Path, make_video: Callable[..., Path], read_stamp: Callable[..., int]
) -> None:
    path = make_video(tmp_path / "clip.mp4", range(40), options={"g": "10", "bf": "2"})
    with open_clip(path) as first:
        info = first.info
    with open_clip(path, cache_bytes=0) as again:
        assert again.info == info
        assert [read_stamp(again.frame(index)) for index in (17, 3, 39)] == [17, 3, 39]
    spoil(path)
    with open_clip(path) as remembered:
        assert remembered.info == info
    path.touch()
    with pytest.raises(NotAVideo):
        open_clip(path)


def test_only_the_last_few_clips_are_remembered(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    first = make_video(tmp_path / "first.mp4", [1])
    open_clip(first).close()
    spoil(first)
    for number in range(7):
        copy = make_video(tmp_path / f"{number}.mp4", [number])
        open_clip(copy).close()
    open_clip(first).close()
    for number in range(8):
        copy = make_video(tmp_path / f"other{number}.mp4", [number])
        open_clip(copy).close()
    with pytest.raises(NotAVideo):
        open_clip(first)


def test_the_cache_drops_what_was_used_longest_ago() -> None:
    cache = FrameCache(30)
    for index in range(3):
        cache.put(index, np.zeros((1, 10, 1), np.uint8))
    assert cache.get(0) is not None
    cache.put(3, np.zeros((1, 10, 1), np.uint8))
    assert [cache.get(index) is None for index in range(4)] == [False, True, False, False]
    cache.put(9, np.zeros((1, 31, 1), np.uint8))
    assert cache.get(9) is None
    assert cache.used_bytes == 30
    with pytest.raises(ValueError, match="-1 bytes"):
        FrameCache(-1)
