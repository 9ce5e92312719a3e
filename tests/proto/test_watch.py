from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from mattebox_proto.client import Client
from mattebox_proto.errors import BackendGone, NotFound
from mattebox_proto.mattebox.v1 import jobs_pb2, media_pb2

Start = Callable[..., Any]
Fail = Callable[..., Any]

EVENTS = [jobs_pb2.JobEvent(sequence=1, state=jobs_pb2.JOB_STATE_RUNNING)]
EVENTS += [jobs_pb2.JobEvent(sequence=i, progress=jobs_pb2.JobProgress(step=i)) for i in range(2, 9)]
EVENTS += [jobs_pb2.JobEvent(sequence=9, state=jobs_pb2.JOB_STATE_DONE)]


class Script:
    """Watch that breaks off as told: `breaks[n]` is how many events the n-th call sends before it fails."""

    def __init__(self, *breaks: int, status: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self.breaks = list(breaks)
        self.status = status
        self.after: list[int] = []

    def __call__(
        self, request: jobs_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[jobs_pb2.JobEvent]:
        self.after.append(request.after)
        left = self.breaks.pop(0) if self.breaks else None
        for event in EVENTS[request.after :]:
            if left == 0:
                context.abort(self.status, "")
            yield event
            left = None if left is None else left - 1


def test_a_watch_tells_every_event_once_and_ends_with_the_job(start: Start) -> None:
    with Client.connect(start(Watch=Script()).endpoint) as client:
        assert list(client.watch("j")) == EVENTS


def test_a_lost_connection_goes_on_after_the_last_event_seen(start: Start) -> None:
    script = Script(3, 0, 2)
    with Client.connect(start(Watch=script).endpoint) as client:
        assert [event.sequence for event in client.watch("j")] == list(range(1, 10))
    assert script.after == [0, 3, 3, 5]


def test_events_that_come_twice_are_told_once(start: Start) -> None:
    tiny = start(Watch=lambda r, c: EVENTS[:4] + EVENTS[2:])
    with Client.connect(tiny.endpoint) as client:
        assert [event.sequence for event in client.watch("j")] == list(range(1, 10))


def test_a_preview_comes_through_though_it_repeats_its_steps_number(start: Start) -> None:
    preview = jobs_pb2.JobEvent(sequence=2, preview=media_pb2.Image(width=1))
    tiny = start(Watch=lambda r, c: [*EVENTS[:2], preview, *EVENTS[2:]])
    with Client.connect(tiny.endpoint) as client:
        assert preview in list(client.watch("j", previews=True))


def test_a_restarted_backend_with_another_token_and_address_is_found_again(start: Start) -> None:
    first = start(token="one", Watch=Script(4))
    second_script = Script()
    second = start(token="two", Watch=second_script)
    places = iter([second.endpoint])
    with Client.connect(first.endpoint, renew=lambda: next(places)) as client:
        assert [event.sequence for event in client.watch("j")] == list(range(1, 10))
    assert second_script.after == [4]


def test_a_watch_that_reconnects_leaves_the_others_on_the_same_client_alone(start: Start) -> None:
    reconnected, waits = threading.Event(), threading.Event()
    script = Script(2)

    def watch(request: jobs_pb2.WatchRequest, context: grpc.ServicerContext) -> Iterator[jobs_pb2.JobEvent]:
        if request.job == "one":
            yield from script(request, context)
            return
        yield EVENTS[0]
        waits.set()
        context.add_callback(reconnected.set)
        reconnected.wait(20)
        yield from EVENTS[1:]

    heard: list[int | Exception] = []

    def listen() -> None:
        try:
            heard.extend(event.sequence for event in client.watch("two"))
        except Exception as error:
            heard.append(error)

    with Client.connect(start(Watch=watch).endpoint) as client:
        other = threading.Thread(target=listen)
        other.start()
        assert waits.wait(20)
        assert [event.sequence for event in client.watch("one")] == list(range(1, 10))
        reconnected.set()
        other.join(20)
    assert script.after == [0, 2]
    assert heard == list(range(1, 10))


def test_a_token_that_is_no_longer_right_is_renewed(start: Start) -> None:
    script = Script(2)
    tiny = start(Watch=script)
    with Client.connect(tiny.endpoint, renew=lambda: tiny.endpoint) as client:
        events = iter(client.watch("j"))
        next(events)
        tiny.seen.token = "changed"
        tiny.token = "changed"
        assert [event.sequence for event in events] == list(range(2, 10))


def test_a_backend_that_stays_away_is_given_up_when_patience_ends(start: Start, fail: Fail) -> None:
    tiny = start(Watch=fail(grpc.StatusCode.UNAVAILABLE))
    with Client.connect(tiny.endpoint) as client, pytest.raises(BackendGone):
        list(client.watch("j", patience=0.3))


def test_a_job_that_nobody_knows_is_an_error_at_once(start: Start, fail: Fail) -> None:
    tiny = start(Watch=fail(grpc.StatusCode.NOT_FOUND, "There is no job j."))
    with Client.connect(tiny.endpoint) as client, pytest.raises(NotFound, match="There is no job j"):
        list(client.watch("j"))


def test_watching_on_after_the_end_tells_nothing_more(start: Start) -> None:
    tiny = start(Watch=Script(), Get=lambda r, c: jobs_pb2.Job(state=jobs_pb2.JOB_STATE_DONE))
    with Client.connect(tiny.endpoint) as client:
        assert list(client.watch("j", after=9)) == []


def test_a_backend_that_ends_quietly_in_mid_job_is_watched_again(start: Start) -> None:
    calls: list[int] = []

    def quiet(request: jobs_pb2.WatchRequest, _context: object) -> list[jobs_pb2.JobEvent]:
        calls.append(request.after)
        return EVENTS[:3] if len(calls) == 1 else EVENTS[request.after :]

    tiny = start(Watch=quiet, Get=lambda r, c: jobs_pb2.Job(state=jobs_pb2.JOB_STATE_RUNNING))
    with Client.connect(tiny.endpoint) as client:
        assert [event.sequence for event in client.watch("j")] == list(range(1, 10))
    assert calls == [0, 3]


def test_another_thread_can_stop_a_watch_that_hears_nothing(start: Start) -> None:
    release = threading.Event()

    def silent(_request: object, context: grpc.ServicerContext) -> Iterator[jobs_pb2.JobEvent]:
        context.add_callback(release.set)
        yield EVENTS[0]
        release.wait(20)

    with Client.connect(start(Watch=silent).endpoint) as client:
        watch = client.watch("j")
        heard: list[int] = []
        first = threading.Event()

        def listen() -> None:
            for event in watch:
                heard.append(event.sequence)
                first.set()

        thread = threading.Thread(target=listen)
        thread.start()
        assert first.wait(5)
        watch.stop()
        thread.join(5)
        assert not thread.is_alive()
    assert heard == [1]
