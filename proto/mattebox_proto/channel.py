"""Opens a gRPC channel to a backend: TLS beyond this machine, the token on every call, the message limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, Self, TypeVar

import grpc

from mattebox_proto.auth import TOKEN_KEY
from mattebox_proto.errors import InvalidRequest
from mattebox_proto.limits import MAX_MESSAGE_BYTES

_Metadata = tuple[tuple[str, str | bytes], ...]
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
    return _TokenChannel(channel, token)


_Message = TypeVar("_Message", covariant=True)


class Stream(Protocol[_Message]):
    """What a streaming call returns: messages to iterate over, and a way to end it early."""

    def __iter__(self) -> Iterator[_Message]: ...
    def cancel(self) -> object: ...


class _TokenChannel(grpc.Channel):
    """A channel as the generated stubs use it, which adds a token to the metadata of every call.

    No gRPC interceptor: an intercepted call looks its method up in the channel each time, which crashes the
    process when another thread closes the channel meanwhile. Here the lookup happens once, in the stub; a
    call on a closed channel raises ValueError.
    """

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self._channel = channel
        self._token = (TOKEN_KEY, token)

    def unary_unary(self, *method: Any, **named: Any) -> Any:
        return self._with_token(self._channel.unary_unary(*method, **named))

    def unary_stream(self, *method: Any, **named: Any) -> Any:
        return self._with_token(self._channel.unary_stream(*method, **named))

    def stream_unary(self, *method: Any, **named: Any) -> Any:
        return self._with_token(self._channel.stream_unary(*method, **named))

    def stream_stream(self, *method: Any, **named: Any) -> Any:
        return self._with_token(self._channel.stream_stream(*method, **named))

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False
    ) -> None:
        self._channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        self._channel.unsubscribe(callback)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _with_token(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def send(request: Any, timeout: float | None = None, metadata: _Metadata = ()) -> Any:
            return call(request, timeout=timeout, metadata=(*metadata, self._token))

        return send
