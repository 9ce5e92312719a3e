"""Opens a gRPC channel to a backend: TLS beyond this machine, the token on every call, the message limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

import grpc

from mattebox_proto.auth import TOKEN_KEY
from mattebox_proto.errors import InvalidRequest
from mattebox_proto.limits import MAX_MESSAGE_BYTES

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Reach(Enum):
    """Where a backend is: on a Unix socket, on loopback TCP, or on another machine (which demands TLS)."""

    UNIX = "unix"
    LOOPBACK = "loopback"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Address:
    """target: as gRPC wants it. text: as the user wrote it."""

    target: str
    reach: Reach
    text: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads ``unix:///path/of.sock``, ``host:port`` or ``[v6]:port``; raises InvalidRequest otherwise."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            path = path.removeprefix("//") if path.startswith("///") else path
            if not path.startswith("/"):
                raise InvalidRequest(
                    f"The backend address {text!r} needs a whole path: unix:///path/of.sock."
                )
            return cls(f"unix:{path}", Reach.UNIX, text)
        host, colon, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not colon or not bare or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise InvalidRequest(
                f"The backend address {text!r} is neither HOST:PORT nor unix:///path/of.sock."
            )
        if ":" in bare and not host.startswith("["):
            raise InvalidRequest(f"The backend address {text!r} needs brackets: [{bare}]:{port}.")
        return cls(text, Reach.LOOPBACK if bare in _LOOPBACK else Reach.REMOTE, text)


def open_channel(address: Address, token: str, *, tls_roots: bytes | None = None) -> grpc.Channel:
    """A channel that sends `token` with every call. No connection is made yet.

    Beyond this machine it always speaks TLS. tls_roots: PEM certificates to trust instead of the system's;
    for a loopback address they turn TLS on there too.
    """
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),
        # A channel of our own: a fresh connection after a backend was replaced, not a pooled dead one.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5000),
    ]
    if address.reach is Reach.UNIX:
        options.append(("grpc.default_authority", "localhost"))
    if address.reach is Reach.REMOTE or (tls_roots is not None and address.reach is Reach.LOOPBACK):
        options.append(("grpc.keepalive_time_ms", 330_000))
        credentials = grpc.ssl_channel_credentials(root_certificates=tls_roots)
        channel = grpc.secure_channel(address.target, credentials, options=options)
    else:
        channel = grpc.insecure_channel(address.target, options=options)
    return grpc.intercept_channel(channel, _TokenInterceptor(token))


class _CallDetails(grpc.ClientCallDetails):
    """Another call's details, with more metadata."""

    def __init__(self, details: grpc.ClientCallDetails, more: tuple[str, str]) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = (*(details.metadata or ()), more)
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression


_Message = TypeVar("_Message", covariant=True)


class Stream(Protocol[_Message]):
    """What a streaming call returns: messages to iterate over, and a way to end it early."""

    def __iter__(self) -> Iterator[_Message]: ...
    def cancel(self) -> object: ...


_Request = TypeVar("_Request")
_Call = TypeVar("_Call")


class _TokenInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to the metadata of every call, of all four kinds."""

    def __init__(self, token: str) -> None:
        self._token = token

    def _send(
        self,
        continuation: Callable[[grpc.ClientCallDetails, _Request], _Call],
        details: grpc.ClientCallDetails,
        request: _Request,
    ) -> _Call:
        return continuation(_CallDetails(details, (TOKEN_KEY, self._token)), request)

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, _Request], _Call],
        client_call_details: grpc.ClientCallDetails,
        request: _Request,
    ) -> _Call:
        return self._send(continuation, client_call_details, request)

    def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.ClientCallDetails, _Request], _Call],
        client_call_details: grpc.ClientCallDetails,
        request: _Request,
    ) -> _Call:
        return self._send(continuation, client_call_details, request)

    def intercept_stream_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Iterator[_Request]], _Call],
        client_call_details: grpc.ClientCallDetails,
        request_iterator: Iterator[_Request],
    ) -> _Call:
        return self._send(continuation, client_call_details, request_iterator)

    def intercept_stream_stream(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Iterator[_Request]], _Call],
        client_call_details: grpc.ClientCallDetails,
        request_iterator: Iterator[_Request],
    ) -> _Call:
        return self._send(continuation, client_call_details, request_iterator)
