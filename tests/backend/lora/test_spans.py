from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mattebox_backend.lora.samples import training_windows
from mattebox_backend.lora.spans import generation_windows

LENGTHS = st.integers(0, 30).map(lambda k: 4 * k + 1)


def test_a_short_clip_is_one_window() -> None:
    assert generation_windows(9, 17, 5) == ((range(9), 0),)
    assert training_windows(9, 0) == training_windows(9, 9) == (range(9),)


def test_windows_meet_in_what_is_made() -> None:
    assert generation_windows(49, 17, 5) == (
        (range(17), 0),
        (range(12, 29), 5),
        (range(24, 41), 5),
        (range(32, 49), 9),
    )


def test_training_windows_share_half() -> None:
    assert training_windows(17, 9) == (range(9), range(4, 13), range(8, 17))
    assert len(training_windows(49, 9)) == 11


@given(LENGTHS, LENGTHS, LENGTHS)
def test_every_frame_is_generated_once_and_in_order(frames: int, size: int, overlap: int) -> None:
    windows = generation_windows(frames, size, overlap)
    made = [frame for window, before in windows for frame in window[before:]]
    assert made == list(range(frames))
    for window, before in windows:
        assert len(window) <= max(size, 1)
        assert before < len(window)
        assert len(window) % 4 == 1
        assert all(frame in made[: window.start + before] for frame in window[:before])


@given(LENGTHS, LENGTHS)
def test_every_frame_is_learnt_from(frames: int, size: int) -> None:
    windows = training_windows(frames, size)
    assert {frame for window in windows for frame in window} == set(range(frames))
    assert {len(window) for window in windows} == {min(frames, size)}
