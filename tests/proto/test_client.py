from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from mattebox_proto import channel as channel_module
from mattebox_proto import client as client_module
from mattebox_proto.client import Client, Endpoint
from mattebox_proto.codecs.frames import chunks
from mattebox_proto.errors import (
    KINDS,
    BackendError,
    BackendFailed,
    BackendGone,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    ModelMissing,
    NotFound,
    TooLarge,
    Unauthorised,
    VersionMismatch,
    from_kind,
)
from mattebox_proto.mattebox.v1 import captions_pb2, clips_pb2, edit_pb2, jobs_pb2, masks_pb2, system_pb2

Start = Callable[..., Any]
Fail = Callable[..., Any]


def test_the_token_goes_with_every_method(start: Start, fail: Fail, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    tiny = start(address="127.0.0.1:0", Open=fail(grpc.StatusCode.NOT_FOUND))
    with Client.connect(tiny.endpoint) as client:
        (
            client.info(),
            client.cache(),
            client.clear_cache(),
            client.models(),
            client.methods(),
            client.shutdown(),
        )
        client.open_clip(tmp_path / "clip.mp4")
        list(client.propose_regions(masks_pb2.ProposeRequest()))
        list(client.describe(captions_pb2.DescribeRequest()))
        list(client.read_clip("c", 0, 1)), client.submit(edit_pb2.Edit()), client.job("j"), client.jobs()
        client.plan(edit_pb2.Edit())
        list(client.watch_once(jobs_pb2.WatchRequest())), client.cancel("j"), list(client.log("j"))
        client.take("t"), client.takes(), client.delete_take("t"), list(client.read_take("t"))
        list(client.inspect("t"))
    called = {name for name, _ in tiny.seen.calls}
    services = [
        module.DESCRIPTOR.services_by_name[name]
        for module, name in (
            (system_pb2, "System"),
            (clips_pb2, "Clips"),
            (masks_pb2, "Masks"),
            (captions_pb2, "Captions"),
            (jobs_pb2, "Jobs"),
        )
    ]
    assert called == {method.name for service in services for method in service.methods}
    assert {token for _, token in tiny.seen.calls} == {"secret"}


def test_a_description_is_cancelled_from_another_thread(start: Start) -> None:
    gone = threading.Event()

    def describe(_: object, context: grpc.ServicerContext) -> Iterator[captions_pb2.DescribeEvent]:
        context.add_callback(gone.set)
        yield captions_pb2.DescribeEvent(state=captions_pb2.DESCRIBE_STATE_WAITING)
        gone.wait(20)
        yield captions_pb2.DescribeEvent(caption="nobody reads this")

    tiny = start(Describe=describe)
    with Client.connect(tiny.endpoint) as client:
        call = client.describe(captions_pb2.DescribeRequest())
        events = iter(call)
        assert next(events).state == captions_pb2.DESCRIBE_STATE_WAITING
        threading.Timer(0.05, call.cancel).start()
        assert list(events) == []
        assert gone.wait(20), "the backend was not told"
        early = client.describe(captions_pb2.DescribeRequest())
        early.cancel()
        assert list(early) == []
    assert [name for name, _ in tiny.seen.calls].count("Describe") == 1


def test_a_description_that_fails_says_why(start: Start, fail: Fail) -> None:
    tiny = start(Describe=fail(grpc.StatusCode.NOT_FOUND, "There is no captioner.", "model-missing"))
    with Client.connect(tiny.endpoint) as client, pytest.raises(ModelMissing, match="no captioner"):
        list(client.describe(captions_pb2.DescribeRequest()))


def test_a_wrong_token_is_said_in_words(start: Start) -> None:
    tiny = start()
    with pytest.raises(Unauthorised, match="refused the token"):
        Client.connect(Endpoint(tiny.address, "guess"))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_error_arrives_as_its_class_with_its_sentence(
    start: Start, fail: Fail, kind: str
) -> None:
    tiny = start(Get=fail(KINDS[kind].status, "The cat is missing; bring it back.", kind))
    with Client.connect(tiny.endpoint) as client, pytest.raises(BackendError) as caught:
        client.job("j")
    assert type(caught.value) is KINDS[kind]
    assert str(caught.value) == "The cat is missing; bring it back."
    assert type(from_kind(kind, "x")) is KINDS[kind]


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest, "the details"),
        (grpc.StatusCode.OUT_OF_RANGE, InvalidRequest, "the details"),
        (grpc.StatusCode.NOT_FOUND, NotFound, "the details"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, TooLarge, "the details"),
        (grpc.StatusCode.UNIMPLEMENTED, VersionMismatch, "older than this Mattebox"),
        (grpc.StatusCode.UNAVAILABLE, BackendGone, "mattebox serve"),
        (grpc.StatusCode.INTERNAL, BackendFailed, "failed while asking about a job: the details"),
        (grpc.StatusCode.DATA_LOSS, BackendFailed, "the details"),
    ],
)
def test_a_bare_status_code_becomes_a_class_and_a_sentence(
    start: Start, fail: Fail, status: grpc.StatusCode, error: type[BackendError], said: str
) -> None:
    tiny = start(Get=fail(status, "the details"))
    with Client.connect(tiny.endpoint) as client, pytest.raises(error, match=said):
        client.job("j")


def test_a_kind_of_a_later_version_is_a_failure_with_its_sentence(start: Start, fail: Fail) -> None:
    tiny = start(Get=fail(grpc.StatusCode.ABORTED, "Something new.", "new-kind"))
    with Client.connect(tiny.endpoint) as client, pytest.raises(BackendFailed, match=r"Something new\."):
        client.job("j")
    assert type(from_kind("new-kind", "x")) is BackendFailed


def test_a_slow_answer_ends_at_the_deadline(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = start(Get=lambda r, c: time.sleep(0.6) or jobs_pb2.Job())
    monkeypatch.setattr(client_module, "_QUICK", 0.15)
    with Client.connect(tiny.endpoint) as client, pytest.raises(DeadlineExceeded, match=r"within 0\.15 s"):
        client.job("j")


def test_nobody_at_the_address_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(BackendGone, match="gone or cannot be reached"):
        Client.connect(Endpoint(f"unix:{tmp_path}/none.sock"))


def test_another_contract_is_refused_in_the_backends_words_or_in_ours(start: Start) -> None:
    def other(message: str) -> object:
        answer = system_pb2.HandshakeResponse(
            backend_version="9.0", contract=9, compatible=False, message=message
        )
        return lambda r, c: answer

    with pytest.raises(VersionMismatch, match="Come back newer"):
        Client.connect(start(Handshake=other("Come back newer.")).endpoint)
    with pytest.raises(VersionMismatch, match="this Mattebox is older than the backend"):
        Client.connect(start(Handshake=other("")).endpoint)


def test_beyond_loopback_nothing_is_said_without_tls(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = start(address="127.0.0.1:0")
    monkeypatch.setattr(channel_module, "_LOOPBACK", frozenset())  # now it counts as another machine
    with pytest.raises(BackendGone):
        Client.connect(tiny.endpoint)
    assert tiny.seen.calls == []


def test_a_message_over_the_limit_is_refused_in_words(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_MESSAGE_BYTES", 1000)
    tiny = start(Get=lambda r, c: jobs_pb2.Job(title="x" * 2000))
    with Client.connect(tiny.endpoint) as client, pytest.raises(TooLarge, match="larger than max"):
        client.job("j")


def test_a_clip_is_opened_by_its_absolute_path(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = start(Open=lambda r, c: clips_pb2.Clip(path=r.path))
    with Client.connect(tiny.endpoint) as client:
        assert client.open_clip("frames/%04d.png").path == str(tmp_path / "frames" / "%04d.png")


def receive(requests: object, _context: object) -> clips_pb2.Clip:
    messages = list(requests)  # type: ignore[call-overload]
    data = b"".join(message.data for message in messages)
    assert messages[0].size == len(data)
    return clips_pb2.Clip(id=str(len(data)), path=messages[0].name)


def test_a_backend_that_does_not_see_the_file_is_sent_it(start: Start, fail: Fail, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(2_500_000))
    tiny = start(address="127.0.0.1:0", Open=fail(grpc.StatusCode.NOT_FOUND), Upload=receive)
    steps: list[tuple[int, int]] = []
    with Client.connect(tiny.endpoint) as client:
        clip = client.open_clip(path, sent=lambda done, total: steps.append((done, total)))
        with pytest.raises(NotFound):  # it is on neither side
            client.open_clip(tmp_path / "other.mp4")
    assert (clip.id, clip.path) == ("2500000", "clip.mp4")
    assert steps[-1] == (2_500_000, 2_500_000)


def test_a_picture_sequence_is_not_sent_to_another_machine(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = start(address="127.0.0.1:0")
    with Client.connect(tiny.endpoint) as client:
        remote = channel_module.Address(tiny.address, channel_module.Reach.REMOTE, "render.example.com:443")
        monkeypatch.setattr(client, "address", remote)
        with pytest.raises(InvalidRequest, match="make one video file of it"):
            client.open_clip("frames/%04d.png")


def test_a_take_is_read_frame_by_frame(start: Start) -> None:
    frames = [np.full((4, 6, 3), i, np.uint8) for i in range(3)]
    tiny = start(ReadTake=lambda r, c: chunks(enumerate(frames, start=10)))
    with Client.connect(tiny.endpoint) as client:
        got = list(client.read_take("t"))
        list(client.inspect("t"))
    assert [index for index, _ in got] == [10, 11, 12]
    assert all(np.array_equal(frame, frames[i - 10]) for i, frame in got)


def test_a_take_that_arrives_broken_is_the_backends_fault(start: Start) -> None:
    def broken(_r: object, _c: object) -> object:
        [chunk] = chunks([(0, np.zeros((4, 6, 3), np.uint8))])
        chunk.data = chunk.data[:-1]
        return [chunk]

    tiny = start(ReadTake=broken)
    with Client.connect(tiny.endpoint) as client, pytest.raises(BackendFailed, match="frame 0 is cut off"):
        list(client.read_take("t"))


def test_a_reader_that_leaves_early_ends_the_call(start: Start) -> None:
    ended = []

    def endless(_r: object, context: grpc.ServicerContext) -> object:
        context.add_callback(lambda: ended.append(True))
        for i in range(10**9):
            yield from chunks([(i, np.zeros((4, 6, 3), np.uint8))])

    tiny = start(ReadTake=endless)
    with Client.connect(tiny.endpoint) as client:
        frames = client.read_take("t")
        next(frames)
        frames.close()
        give_up = time.monotonic() + 5
        while not ended and time.monotonic() < give_up:
            time.sleep(0.01)
    assert ended


def test_a_closed_client_says_so_and_stays_closed(start: Start) -> None:
    client = Client.connect(start().endpoint)
    client.close()
    for call in (
        lambda: client.job("j"),
        lambda: list(client.read_take("t")),
        lambda: client.watch_once(jobs_pb2.WatchRequest()),
        lambda: list(client.watch("j")),
        client.reconnect,
    ):
        with pytest.raises(Cancelled, match="was closed while"):
            call()


def test_closing_ends_what_other_threads_have_under_way(start: Start) -> None:
    """gRPC's own interceptors end the whole process here: they look each call's method up anew."""
    began, ended = threading.Event(), []

    def calling(client: Client) -> None:
        try:
            while True:
                client.job("j")
                began.set()
        except Cancelled as error:
            ended.append(str(error))

    tiny = start()
    for _ in range(5):
        client = Client.connect(tiny.endpoint)
        threads = [threading.Thread(target=calling, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert began.wait(10)
        client.close()
        for thread in threads:
            thread.join(10)
    assert len(ended) == 20
    assert all("was closed while asking about a job" in words for words in ended)
