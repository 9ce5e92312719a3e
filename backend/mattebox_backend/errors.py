"""Every error that the backend raises on purpose: a sentence that names the thing, its value and the remedy.

`MatteboxError.kind` is the word that travels to the client (`mattebox_proto.errors.KINDS`): the server
turns it into a gRPC status code, a failed job carries it in ``Job.error_kind``.
"""

from __future__ import annotations

from typing import ClassVar


class MatteboxError(Exception):
    """The root of all of them. Its message is a whole sentence that is shown to the user as it stands."""

    kind: ClassVar[str] = "internal"


class InvalidEdit(MatteboxError):
    """The edit asks for something that cannot be done; the user has to change it."""

    kind: ClassVar[str] = "invalid-request"


class UnknownMethod(InvalidEdit):
    """No method of this name, or one that is not in this version yet."""


class InvalidSettings(MatteboxError):
    """A settings file or an option of the server that cannot be used."""

    kind: ClassVar[str] = "invalid-request"


class NotFound(MatteboxError):
    """No job, take or clip with this id."""

    kind: ClassVar[str] = "not-found"


class UnknownModel(MatteboxError):
    """The model is neither shipped, nor a folder, nor a hub id that is on this machine or can be fetched."""

    kind: ClassVar[str] = "model-missing"


class ModelRefused(MatteboxError):
    """The model is there and will not be loaded: a family we do not know, pickled weights, a damaged file."""

    kind: ClassVar[str] = "invalid-request"


class BadMedia(MatteboxError):
    """The source cannot be read as a video or an image sequence (any more)."""

    kind: ClassVar[str] = "bad-media"


class Cancelled(MatteboxError):
    """The user cancelled the job; raised by `RenderMonitor.progress`, and let through by everything."""

    kind: ClassVar[str] = "cancelled"


class DiskFull(MatteboxError):
    """The disk holds no more; nothing half-written was left behind."""

    kind: ClassVar[str] = "disk-full"


class DeviceError(MatteboxError):
    """The chosen device is not there or failed."""

    kind: ClassVar[str] = "internal"


class OutOfMemory(DeviceError):
    """The device's memory does not hold this edit."""

    kind: ClassVar[str] = "out-of-memory"


class TooLarge(MatteboxError):
    """More than the server's limits take: an upload, a mask track, a queue."""

    kind: ClassVar[str] = "too-large"


class BackendRunning(MatteboxError):
    """Another backend already serves this home."""


class DamagedStore(MatteboxError):
    """The job database cannot be read, or was written by a newer Mattebox."""
