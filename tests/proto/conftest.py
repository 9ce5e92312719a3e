"""A tiny backend: a real gRPC server on a real socket that answers, or fails, as a test tells it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import settings
from mattebox_proto.auth import ERROR_KEY, TOKEN_KEY
from mattebox_proto.client import Endpoint
from mattebox_proto.mattebox.v1 import (
    captions_pb2,
    captions_pb2_grpc,
    clips_pb2,
    clips_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    masks_pb2,
    masks_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
)
from mattebox_proto.version import CONTRACT

# Speed is measured elsewhere; a machine that is busy training must not fail a round trip.
settings.register_profile("mattebox", deadline=None)
settings.load_profile("mattebox")

Answer = Callable[[Any, grpc.ServicerContext], Any]


def fail(status: grpc.StatusCode, details: str = "", kind: str = "") -> Answer:
    """An answer that is an error."""

    def answer(_request: object, context: grpc.ServicerContext) -> None:
        if kind:
            context.set_trailing_metadata(((ERROR_KEY, kind),))
        context.abort(status, details)

    return answer


class Seen(grpc.ServerInterceptor):
    """Notes each call's method and token, and refuses a wrong one."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.calls: list[tuple[str, str]] = []

    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        token = dict(details.invocation_metadata).get(TOKEN_KEY, "")
        self.calls.append((details.method.rpartition("/")[2], token))
        handler = continuation(details)
        if handler is None or token == self.token:
            return handler
        refuse = fail(grpc.StatusCode.UNAUTHENTICATED, "no")
        make = (
            grpc.unary_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return make(refuse, handler.request_deserializer, handler.response_serializer)


@dataclass
class TinyBackend:
    """answers: method name → what it does; a method without one answers with an empty message."""

    address: str
    token: str = "secret"
    answers: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.answers.setdefault(
            "Handshake",
            lambda r, c: system_pb2.HandshakeResponse(
                backend_version="0", contract=CONTRACT, compatible=True
            ),
        )
        self.seen = Seen(self.token)
        self.pool = ThreadPoolExecutor(8)
        self.server = grpc.server(self.pool, interceptors=[self.seen])
        for module, service, messages in (
            (system_pb2_grpc, "System", system_pb2),
            (clips_pb2_grpc, "Clips", clips_pb2),
            (masks_pb2_grpc, "Masks", masks_pb2),
            (captions_pb2_grpc, "Captions", captions_pb2),
            (jobs_pb2_grpc, "Jobs", jobs_pb2),
        ):
            getattr(module, f"add_{service}Servicer_to_server")(
                self._servicer(service, messages), self.server
            )
        if self.address.endswith(":0"):
            self.address = f"127.0.0.1:{self.server.add_insecure_port(self.address)}"
        else:
            self.server.add_insecure_port(self.address)
        self.server.start()

    def _servicer(self, service: str, messages: Any) -> object:
        def method(name: str, output: str, streams: bool) -> Callable[..., Any]:
            def call(_self: object, request: Any, context: grpc.ServicerContext) -> Any:
                made = self.answers.get(name, lambda r, c: [] if streams else empty(output))(request, context)
                return iter(made) if streams else made

            return call

        def empty(output: str) -> Any:
            return getattr(messages, output)()

        described = messages.DESCRIPTOR.services_by_name[service].methods
        return type(
            service, (), {m.name: method(m.name, m.output_type.name, m.server_streaming) for m in described}
        )()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.address, self.token)

    def stop(self) -> None:
        self.server.stop(0).wait()
        self.pool.shutdown(wait=True)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., TinyBackend]]:
    """Starts tiny backends; they are stopped when the test ends."""
    started: list[TinyBackend] = []

    def start_one(*, address: str = "", token: str = "secret", **answers: Answer) -> TinyBackend:
        tiny = TinyBackend(address or f"unix:{tmp_path}/{len(started)}.sock", token, answers)
        started.append(tiny)
        return tiny

    yield start_one
    for tiny in started:
        tiny.stop()


@pytest.fixture(name="fail")
def _fail() -> Callable[..., Answer]:
    """Makes an answer that is an error: (status, details, kind)."""
    return fail
