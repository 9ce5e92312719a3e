from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from mattebox_proto.codecs.masks import decode_frames, decode_mask, decode_track, encode_mask, encode_track
from mattebox_proto.errors import InvalidMessage
from mattebox_proto.mattebox.v1 import media_pb2

# Few values make long runs, all 256 make short ones; both must survive.
masks = st.one_of(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 255])),
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12)),
)


@given(masks)
def test_any_mask_comes_back_as_it_was(mask: np.ndarray) -> None:
    wire = media_pb2.Mask.FromString(encode_mask(mask).SerializeToString())
    assert np.array_equal(decode_mask(wire), mask)


@given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.just(3), st.just(4)), elements=st.integers(0, 1)))
def test_any_track_comes_back_as_it_was(track: np.ndarray) -> None:
    frames, height, width = track.shape
    assert np.array_equal(decode_track(encode_track(track), frames=frames, height=height, width=width), track)


def test_a_mask_that_is_not_contiguous_is_read_in_its_own_order() -> None:
    mask = np.arange(30, dtype=np.uint8).reshape(5, 6)[:, ::2].T
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)


def test_a_painted_4k_mask_takes_a_few_kilobytes_and_its_repeats_next_to_nothing() -> None:
    y, x = np.mgrid[:2160, :3840]
    disc = (((x - 1900) ** 2 + (y - 1000) ** 2) < 800**2).astype(np.uint8) * np.uint8(255)
    one = encode_track([disc]).ByteSize()
    assert one < 16_000
    assert encode_track([disc] * 100).ByteSize() < one + 100 * 5


def test_a_repeated_frame_is_decoded_once() -> None:
    mask = np.eye(4, dtype=np.uint8)
    first, second, third = decode_frames(encode_track([mask, mask.copy(), mask * 2]))
    assert first is second
    assert np.array_equal(third, mask * 2)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (media_pb2.Mask(width=4, height=2, lengths=[3, 4], values=b"\0\1"), "add up to 7 pixels, 4x2 has 8"),
        (media_pb2.Mask(width=4, height=2, lengths=[4, 5], values=b"\0\1"), "add up to 9"),
        (media_pb2.Mask(width=4, height=2, lengths=[4, 4], values=b"\0"), "2 run lengths but 1 values"),
        (media_pb2.Mask(width=4, height=2, lengths=[8, 0], values=b"\0\1"), "empty run, number 1"),
        (media_pb2.Mask(width=4, height=2), "add up to 0"),
        (media_pb2.Mask(width=0, height=2), "0x2"),
        (media_pb2.Mask(width=2**31, height=2**31, lengths=[1], values=b"\0"), "the limit is 16384"),
        # Lengths whose sum wraps around in 32 bits are not taken for a small mask.
        (media_pb2.Mask(width=2, height=1, lengths=[2**32 - 1, 3], values=b"\0\1"), "add up to 4294967298"),
    ],
)
def test_runs_that_make_no_mask_are_refused_in_words(message: media_pb2.Mask, said: str) -> None:
    with pytest.raises(InvalidMessage, match=said):
        decode_mask(message)


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), bool), np.zeros((0, 2), np.uint8)]
)
def test_what_is_no_mask_is_not_sent(mask: np.ndarray) -> None:
    with pytest.raises(InvalidMessage):
        encode_mask(mask)


def test_a_track_names_the_mask_that_has_another_size() -> None:
    with pytest.raises(InvalidMessage, match="mask 1 is 3x2, the one before it 2x2"):
        encode_track([np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)])
    track = encode_track([np.zeros((2, 3), np.uint8)])
    with pytest.raises(InvalidMessage, match="region cat: mask 0 is 3x2, the clip is 5x2"):
        decode_track(track, frames=1, height=2, width=5, name="region cat")


def test_a_track_of_another_length_is_refused() -> None:
    track = encode_track([np.zeros((2, 3), np.uint8)] * 3)
    with pytest.raises(InvalidMessage, match="has 3 masks, the edit has 4 frames"):
        decode_track(track, frames=4, height=2, width=3)


def test_a_track_cannot_begin_with_a_repeat_nor_hold_nothing() -> None:
    frame = media_pb2.MaskTrack.Frame
    with pytest.raises(InvalidMessage, match="mask 0 repeats"):
        list(decode_frames(media_pb2.MaskTrack(frames=[frame(repeat=True)])))
    with pytest.raises(InvalidMessage, match="mask 0 is empty"):
        list(decode_frames(media_pb2.MaskTrack(frames=[frame()])))
