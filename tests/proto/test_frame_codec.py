from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mattebox_proto.codecs.frames import assemble, chunks, decode_image, encode_image
from mattebox_proto.errors import InvalidMessage
from mattebox_proto.limits import CHUNK_BYTES
from mattebox_proto.mattebox.v1 import media_pb2

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4]))
frames = st.one_of(arrays(np.uint8, shapes), arrays(np.uint16, shapes))


@given(frames)
def test_any_picture_comes_back_as_it_was(frame: np.ndarray) -> None:
    wire = media_pb2.Image.FromString(encode_image(frame).SerializeToString())
    back = decode_image(wire)
    assert back.dtype == frame.dtype
    assert np.array_equal(back, frame)


@given(st.lists(frames, max_size=4))
def test_any_stream_of_frames_comes_back_as_it_was(sent: list[np.ndarray]) -> None:
    got = list(assemble(chunks(enumerate(sent, start=7))))
    assert [index for index, _ in got] == list(range(7, 7 + len(sent)))
    for (_, back), frame in zip(got, sent, strict=True):
        assert back.dtype == frame.dtype
        assert np.array_equal(back, frame)


def test_a_large_frame_travels_in_chunks_of_a_mebibyte_and_is_writable_at_the_end() -> None:
    frame = np.random.default_rng(0).integers(0, 65536, (720, 1280, 3), np.uint16)
    sent = list(chunks([(3, frame)]))
    assert len(sent) == 6
    assert max(len(chunk.data) for chunk in sent) == CHUNK_BYTES
    [(index, back)] = assemble(sent)
    assert (index, back.flags.writeable) == (3, True)
    assert np.array_equal(back, frame)


def test_a_frame_cut_from_a_larger_one_is_sent_without_its_surroundings() -> None:
    frame = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)[1:3, 1:4]
    assert np.array_equal(decode_image(encode_image(frame)), frame)


def test_a_frame_is_handed_on_before_the_next_one_arrives() -> None:
    arrived = []

    def stream():
        for chunk in chunks((i, np.full((2, 2, 3), i, np.uint8)) for i in range(3)):
            arrived.append(chunk.frame)
            yield chunk

    next(assemble(stream()))
    assert arrived == [0]


def two_chunks() -> list[media_pb2.FrameChunk]:
    frame = np.zeros((600, 600, 4), np.uint8)
    sent = list(chunks([(0, frame)]))
    assert len(sent) == 2
    return sent


def test_a_stream_that_ends_within_a_frame_is_refused() -> None:
    with pytest.raises(
        InvalidMessage, match="frame 0 is cut off: the stream ended after 1048576 of its 1440000"
    ):
        list(assemble(two_chunks()[:1]))


def test_a_frame_that_begins_before_the_last_one_is_whole_is_refused() -> None:
    first, second = two_chunks()
    second.frame = 1
    with pytest.raises(InvalidMessage, match="frame 1 begins after 1048576"):
        list(assemble([first, second]))


def test_a_gap_an_overlong_and_an_empty_chunk_are_refused() -> None:
    first, second = two_chunks()
    second.offset += 1
    with pytest.raises(InvalidMessage, match="came where 1048576 was next"):
        list(assemble([first, second]))
    first, second = two_chunks()
    second.data += b"\0"
    with pytest.raises(InvalidMessage, match="ends at byte 1440001, the frame has 1440000"):
        list(assemble([first, second]))
    first, second = two_chunks()
    second.data = b""
    with pytest.raises(InvalidMessage, match="a chunk is empty"):
        list(assemble([first, second]))


@pytest.mark.parametrize(
    "fields",
    [
        {"layout": 0, "width": 2, "height": 2},
        {"layout": 99, "width": 2, "height": 2},
        {"layout": 1, "width": 0, "height": 2},
        {"layout": 1, "width": 2**32 - 1, "height": 2**32 - 1},
    ],
)
def test_an_impossible_size_or_layout_is_refused_before_memory_is_taken(fields: dict[str, int]) -> None:
    with pytest.raises(InvalidMessage):
        list(assemble([media_pb2.FrameChunk(**fields, data=b"\0")]))
    with pytest.raises(InvalidMessage):
        decode_image(media_pb2.Image(**fields, data=b"\0"))


def test_a_picture_with_too_few_bytes_is_refused() -> None:
    message = encode_image(np.zeros((2, 2, 3), np.uint8))
    message.data = message.data[:-1]
    with pytest.raises(InvalidMessage, match="2x2 has 11 bytes, not 12"):
        decode_image(message)


@pytest.mark.parametrize(
    "frame", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 2), np.uint8)]
)
def test_what_is_no_frame_is_not_sent(frame: np.ndarray) -> None:
    with pytest.raises(InvalidMessage):
        encode_image(frame)
