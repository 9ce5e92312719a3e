"""Frame i is frame i: in every container, after any jump, as stamped into the pictures themselves."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mattebox_media import ClipReader, open_clip
from mattebox_media.errors import ClosedClip, FrameOutOfRange

FRAMES = 40
_GOP = {"g": "12", "bf": "3", "x264-params": "b-adapt=0"}
_HEVC = {"x265-params": "keyint=12:open-gop=1:bframes=3:log-level=none"}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "b-frames": ("clip.mp4", {"options": _GOP}),
    "open gop": ("clip.mp4", {"options": {"x264-params": "keyint=12:open-gop=1:bframes=3:scenecut=0"}}),
    "intra refresh": ("clip.mp4", {"options": {"x264-params": "keyint=12:intra-refresh=1:bframes=0"}}),
    "hevc open gop": ("clip.mp4", {"codec": "libx265", "options": _HEVC}),
    "hevc 10 bit": ("clip.mp4", {"codec": "libx265", "pixel_format": "yuv420p10le", "options": _HEVC}),
    "matroska": ("clip.mkv", {"options": _GOP}),
    "transport stream": ("clip.ts", {"options": _GOP}),
    "program stream": ("clip.mpg", {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}}),
    "avi without times": ("clip.avi", {"options": _GOP}),
    "elementary stream": ("clip.h264", {"options": _GOP}),
    "fragmented": ("clip.mp4", {"options": _GOP, "container_options": _FRAGMENTS}),
    "prores": ("clip.mov", {"codec": "prores_ks", "pixel_format": "yuv422p10le"}),
    "gif": ("clip.gif", {"codec": "gif", "pixel_format": "rgb8"}),
    "negative times": ("clip.nut", {"options": _GOP, "pts": [i - 7 for i in range(FRAMES)]}),
}  # fmt: skip


@pytest.mark.parametrize("kind", _KINDS)
def test_every_frame_is_itself_in_order_and_after_any_jump(
    kind: str, tmp_path: Path, make_video: Callable[..., Path], read_stamp: Callable[..., int]
) -> None:
    name, arguments = _KINDS[kind]
    path = make_video(tmp_path / name, range(FRAMES), **arguments)
    jumps = list(range(FRAMES))
    random.Random(3).shuffle(jumps)
    with open_clip(path, cache_bytes=0) as reader:
        assert reader.info.frame_count == FRAMES
        assert [read_stamp(frame) for frame in reader.frames(0, FRAMES)] == list(range(FRAMES))
        assert [read_stamp(reader.frame(index)) for index in jumps] == jumps


@pytest.fixture(scope="module")
def grouped_clip(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    return make_video(tmp_path_factory.mktemp("grouped") / "clip.mp4", range(FRAMES), options=_GOP)


@settings(max_examples=15, deadline=None)
@given(
    accesses=st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=12),
    cached=st.integers(0, 5),
)
def test_random_access_equals_sequential_with_any_cache(
    grouped_clip: Path, accesses: list[int], cached: int
) -> None:
    with open_clip(grouped_clip) as reader:
        sequential = [frame.copy() for frame in reader.frames(0, FRAMES)]
        one = reader.info.frame_bytes
    with open_clip(grouped_clip, cache_bytes=cached * one) as reader:
        for index in accesses:
            assert np.array_equal(reader.frame(index), sequential[index])
            assert reader.cached_bytes <= cached * one


def test_stepping_backwards_decodes_each_group_few_times(grouped_clip: Path) -> None:
    with open_clip(grouped_clip) as reader:
        reader.frame(30)
        reader.frame(29)
        assert reader.cached_bytes > 2 * reader.info.frame_bytes


def test_a_range_longer_than_the_cache_leaves_the_cache_alone(grouped_clip: Path) -> None:
    with open_clip(grouped_clip, cache_bytes=3 * 96 * 64 * 3) as reader:
        kept = reader.frame(5)
        for _ in reader.frames(10, 30):
            assert reader.cached_bytes == kept.nbytes
        assert reader.frame(5) is kept


def test_frames_are_read_only_since_the_cache_shares_them(grouped_clip: Path) -> None:
    with open_clip(grouped_clip) as reader, pytest.raises(ValueError, match="read-only"):
        reader.frame(0)[0, 0, 0] = 1


def test_variable_frame_rate_keeps_every_frame_and_its_time(
    tmp_path: Path, make_video: Callable[..., Path], read_stamp: Callable[..., int]
) -> None:
    steps = random.Random(1)
    pts = list(accumulate([0] + [steps.randint(1, 9) for _ in range(FRAMES - 1)]))
    path = make_video(
        tmp_path / "vfr.mp4", range(FRAMES), pts=pts, time_base=Fraction(1, 90), rate=30, options=_GOP
    )
    with open_clip(path) as reader:
        assert reader.info.variable_frame_rate
        assert reader.times(0, FRAMES) == [Fraction(tick, 90) for tick in pts]
        assert reader.info.fps == Fraction(FRAMES - 1) / Fraction(pts[-1], 90)
        assert read_stamp(reader.frame(23)) == 23


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_steady_rate_is_not_called_variable_by_rounding(
    name: str, tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    path = make_video(tmp_path / name, range(FRAMES), rate=Fraction(30000, 1001))
    with open_clip(path) as reader:
        assert not reader.info.variable_frame_rate
        assert reader.info.fps == Fraction(30000, 1001)


@pytest.mark.parametrize("options", [{"g": "12", "bf": "0"}, _GOP])
def test_frames_that_an_edit_list_hides_do_not_count(
    options: dict[str, str],
    tmp_path: Path,
    make_video: Callable[..., Path],
    read_stamp: Callable[..., int],
    trim_by_edit_list: Callable[[Path, int], None],
) -> None:
    path = make_video(tmp_path / "trimmed.mp4", range(FRAMES), options=options)
    with av.open(str(path)) as container:
        ticks_per_frame = Fraction(1, 25) / container.streams.video[0].time_base
    reorder = 0 if options["bf"] == "0" else 2
    trim_by_edit_list(path, int((17 + reorder) * ticks_per_frame))
    with open_clip(path, cache_bytes=0) as reader:
        assert reader.info.frame_count == FRAMES - 17
        assert read_stamp(reader.frame(5)) == 22
        assert read_stamp(reader.frame(0)) == 17
        assert reader.times(0, 2) == [0, Fraction(1, 25)]


def test_several_threads_read_one_clip(grouped_clip: Path, read_stamp: Callable[..., int]) -> None:
    with open_clip(grouped_clip, cache_bytes=0) as reader:

        def scrub(seed: int) -> bool:
            jumps = random.Random(seed).sample(range(FRAMES), 8)
            return all(read_stamp(reader.frame(index)) == index for index in jumps) and [
                read_stamp(frame) for frame in reader.frames(seed, seed + 10)
            ] == list(range(seed, seed + 10))

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(scrub, range(4)))


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (0, FRAMES + 1), (4, 4), (6, 5), (FRAMES, FRAMES + 1)])
def test_a_range_outside_the_clip_is_refused_at_once(grouped_clip: Path, start: int, stop: int) -> None:
    with open_clip(grouped_clip) as reader, pytest.raises(FrameOutOfRange, match=r"clip\.mp4"):
        reader.frames(start, stop)


def test_a_closed_clip_says_so(grouped_clip: Path) -> None:
    reader: ClipReader = open_clip(grouped_clip)
    running = reader.frames(0, 10)
    next(running)
    reader.close()
    with pytest.raises(ClosedClip, match="open it again"):
        next(running)
    with pytest.raises(ClosedClip):
        reader.frame(0)


def test_hashing_can_be_given_up(grouped_clip: Path) -> None:
    def give_up() -> None:
        raise InterruptedError

    with open_clip(grouped_clip) as reader:
        with pytest.raises(InterruptedError):
            reader.content_hash(give_up)
        assert len(reader.content_hash()) == 64


def test_the_content_hash_is_of_the_bytes_not_of_the_name(grouped_clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other.mp4"
    copy.write_bytes(grouped_clip.read_bytes())
    with open_clip(grouped_clip) as one, open_clip(copy) as two:
        assert one.content_hash() == two.content_hash()
        assert len(one.content_hash()) == 64
    copy.write_bytes(copy.read_bytes() + b"\0\0\0\x08free")
    with open_clip(copy) as two:
        assert one.content_hash() != two.content_hash()
