"""What can go wrong between a client and a backend: one class per kind, one clear sentence per error.

A backend sends a status code, the sentence as its details, and the kind as trailing metadata
(`mattebox_proto.auth.ERROR_KEY`); a failed job carries the same kind in ``Job.error_kind``. `from_rpc` and
`from_kind` turn them back into the exceptions below.
"""

from __future__ import annotations

from typing import ClassVar

import grpc

from mattebox_proto.auth import ERROR_KEY


class InvalidMessage(ValueError):
    """A message that breaks the contract's own rules (run lengths, sizes, chunk order)."""


class InvalidEditFile(ValueError):
    """An edit file that cannot be read or says something impossible; `str()` is a sentence."""


class BackendError(Exception):
    """Base of everything a client raises; `str()` is a sentence for the user.

    kind: the word on the wire. status: the status code it travels as. usage: the user's input is at
    fault, so the command line exits with 2 instead of 1.
    """

    kind: ClassVar[str] = "internal"
    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    usage: ClassVar[bool] = False


class BackendFailed(BackendError):
    """The backend met a fault of its own."""


class InvalidRequest(BackendError):
    """Something in the edit or the request is wrong: the sentence names it."""

    kind = "invalid-request"
    status = grpc.StatusCode.INVALID_ARGUMENT
    usage = True


class BadMedia(BackendError):
    """A file that is no video, is truncated, or lacks the frames asked for."""

    kind = "bad-media"
    status = grpc.StatusCode.INVALID_ARGUMENT
    usage = True


class NotFound(BackendError):
    """A clip, job, take or file that is not there."""

    kind = "not-found"
    status = grpc.StatusCode.NOT_FOUND
    usage = True


class ModelMissing(BackendError):
    """A backbone that is neither shipped, nor a folder, nor in the local model cache."""

    kind = "model-missing"
    status = grpc.StatusCode.NOT_FOUND
    usage = True


class Unauthorised(BackendError):
    """The token is missing or is not this backend's."""

    kind = "unauthorised"
    status = grpc.StatusCode.UNAUTHENTICATED


class VersionMismatch(BackendError):
    """Client and backend speak different revisions of the contract."""

    kind = "version-mismatch"
    status = grpc.StatusCode.FAILED_PRECONDITION


class Cancelled(BackendError):
    """The job was cancelled."""

    kind = "cancelled"
    status = grpc.StatusCode.CANCELLED


class DiskFull(BackendError):
    """No room left where the backend writes."""

    kind = "disk-full"
    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class OutOfMemory(BackendError):
    """The device ran out of memory."""

    kind = "out-of-memory"
    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class TooLarge(BackendError):
    """A message or an upload over the backend's limits."""

    kind = "too-large"
    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    usage = True


class BackendGone(BackendError):
    """The backend ended, or cannot be reached."""

    kind = "backend-gone"
    status = grpc.StatusCode.UNAVAILABLE


class BackendNotStarted(BackendError):
    """A local backend could not be started; `log_tail` holds the end of its log."""

    kind = "backend-not-started"
    status = grpc.StatusCode.UNAVAILABLE

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.log_tail = log_tail


class DeadlineExceeded(BackendError):
    """The backend is there but did not answer in time."""

    kind = "deadline-exceeded"
    status = grpc.StatusCode.DEADLINE_EXCEEDED


KINDS: dict[str, type[BackendError]] = {
    error.kind: error
    for error in (
        BackendFailed,
        InvalidRequest,
        BadMedia,
        NotFound,
        ModelMissing,
        Unauthorised,
        VersionMismatch,
        Cancelled,
        DiskFull,
        OutOfMemory,
        TooLarge,
        BackendGone,
        BackendNotStarted,
        DeadlineExceeded,
    )
}
"""Kind on the wire → class; the class names the status code."""

_PLAIN: dict[grpc.StatusCode, type[BackendError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: VersionMismatch,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TooLarge,
}


def from_kind(kind: str, message: str) -> BackendError:
    """The exception of a failed job; a kind that this client does not know becomes `BackendFailed`."""
    return KINDS.get(kind, BackendFailed)(message)


def from_rpc(
    error: grpc.RpcError, *, address: str, doing: str, deadline: float | None = None
) -> BackendError:
    """The exception of a failed call.

    doing: what the call was for, as in "opening the clip". deadline: seconds it had.
    """
    if not isinstance(error, grpc.Call):
        return BackendFailed(f"The call to the backend at {address} failed while {doing}: {error}.")
    code, details = error.code(), (error.details() or "").strip()
    kind = _kind_of(error)
    if kind in KINDS:
        return KINDS[kind](details or f"The backend at {address} refused while {doing} ({kind}).")
    if code is grpc.StatusCode.UNAVAILABLE:
        return BackendGone(
            f"The backend at {address} is gone or cannot be reached (while {doing}). "
            "Start it again with `mattebox serve`, or check the address."
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        within = f" within {deadline:g} s" if deadline is not None else " in time"
        return DeadlineExceeded(
            f"The backend at {address} did not answer{within} while {doing}. It may be overloaded: try again."
        )
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthorised(
            f"The backend at {address} refused the token; give the one it printed at its start."
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return VersionMismatch(
            f"The backend at {address} is older than this Mattebox and cannot do this ({doing}). "
            "Update it, or stop it so that a matching one starts."
        )
    if code in _PLAIN:
        return _PLAIN[code](details or f"The backend at {address} refused while {doing} ({code.name}).")
    return BackendFailed(f"The backend at {address} failed while {doing}: {details or code.name}.")


def _kind_of(call: grpc.Call) -> str:
    for key, value in call.trailing_metadata() or ():
        if key == ERROR_KEY:
            return value.decode() if isinstance(value, bytes) else str(value)
    return ""
