"""Where a backend listens, and whether it may."""

from __future__ import annotations

import ipaddress
import socket as sockets
import stat
from dataclasses import dataclass
from pathlib import Path

import grpc
from mattebox_proto.paths import private_folder

from mattebox_backend.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class Listen:
    """socket: of a Unix socket; else host and port (0: any free one)."""

    socket: Path | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Listen:
        """``unix:///path``, ``HOST:PORT`` or ``[V6]:PORT``. Raises InvalidSettings."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            path = path.removeprefix("//") if path.startswith("///") else path
            if not path.startswith("/"):
                raise InvalidSettings(f"The address “{text}” needs a full path: unix:///run/mattebox.sock.")
            return cls(socket=Path(path))
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise InvalidSettings(
                f"The address “{text}” is neither HOST:PORT nor unix:///path/of.sock; try 127.0.0.1:0."
            )
        return cls(host=host.removeprefix("[").removesuffix("]"), port=int(port))

    @property
    def local(self) -> bool:
        """Whether nobody beyond this machine can reach it."""
        if self.socket is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name: it may resolve to anything
            return False

    def at_port(self, port: int) -> str:
        """As clients write it."""
        if self.socket is not None:
            return f"unix://{self.socket}"
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """TLS key and certificate chain, PEM."""

    chain: bytes
    key: bytes

    @classmethod
    def read(cls, chain: Path | None, key: Path | None) -> Certificate | None:
        """None when neither is given.

        Raises InvalidSettings for one without the other, or an unreadable one.
        """
        if chain is None and key is None:
            return None
        if chain is None or key is None:
            raise InvalidSettings("TLS needs both a certificate and its key: give --tls-cert and --tls-key.")
        try:
            return cls(chain.read_bytes(), key.read_bytes())
        except OSError as error:
            raise InvalidSettings(
                f"The TLS file {error.filename} cannot be read: {error.strerror}."
            ) from error


def bind(server: grpc.Server, listen: Listen, certificate: Certificate | None) -> str:
    """Adds an address to a server; returns it as clients write it.

    Raises InvalidSettings where it is taken, where the certificate is none, or where it leads beyond this
    machine without TLS.
    """
    if listen.socket is not None:
        try:
            if not listen.socket.parent.exists():
                private_folder(listen.socket.parent)
            _remove_stale(listen.socket)
        except OSError as error:
            raise InvalidSettings(
                f"The backend cannot listen at {listen.socket}: {error.strerror}; choose another path."
            ) from error
        _add(server, f"unix:{listen.socket}", None, listen)
        listen.socket.chmod(0o600)
        return listen.at_port(0)
    if not listen.local and certificate is None:
        raise InvalidSettings(
            f"The address {listen.at_port(listen.port)} can be reached from other machines, which needs "
            "TLS: give --tls-cert and --tls-key, or listen on 127.0.0.1."
        )
    credentials = None
    if certificate is not None:
        credentials = grpc.ssl_server_credentials([(certificate.key, certificate.chain)])
    port = _add(server, listen.at_port(listen.port), credentials, listen)
    return listen.at_port(port)


def _add(server: grpc.Server, target: str, credentials: grpc.ServerCredentials | None, listen: Listen) -> int:
    try:
        port = (
            server.add_insecure_port(target)
            if credentials is None
            else server.add_secure_port(target, credentials)
        )
    except RuntimeError as error:
        raise InvalidSettings(
            f"The backend cannot listen at {listen.at_port(listen.port)}: it is taken or not allowed. "
            "Choose another address, or port 0 for any that is free."
        ) from error
    return int(port)


def _remove_stale(socket: Path) -> None:
    """Removes the socket that a dead backend left."""
    try:
        mode = socket.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InvalidSettings(f"{socket} is there and is no socket; remove it, or listen elsewhere.")
    with sockets.socket(sockets.AF_UNIX) as probe:
        try:
            probe.connect(str(socket))
        except OSError:
            socket.unlink()
            return
    raise InvalidSettings(f"Another program listens at {socket}; choose another path.")
