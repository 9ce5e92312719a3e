"""Any exception → the typed error that a user is shown."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from pathlib import Path

from mattebox_media.errors import MediaError, OutputFailed, OutputFull
from mattebox_proto.errors import InvalidMessage

from mattebox_backend.errors import BadMedia, DiskFull, MatteboxError, OutOfMemory

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class InvalidRequest(MatteboxError):
    """A message that breaks the contract's own rules."""

    kind = "invalid-request"


class Unexpected(MatteboxError):
    """A fault of ours: nothing that the user could have known."""


def explain(error: BaseException, *, doing: str, log: Path) -> MatteboxError:
    """The typed error of an exception.

    doing: what was going on, as in "rendering the job". log: where the traceback of an unexpected one stands.
    """
    if isinstance(error, MatteboxError):
        return error
    if isinstance(error, InvalidMessage):
        text = str(error)
        return InvalidRequest(f"The request cannot be read: {text}.")
    if isinstance(error, OutputFull) or any(_without_room(cause) for cause in _causes(error)):
        return DiskFull(
            f"The disk is full: there was no room left while {doing}. Free some space (`mattebox cache "
            "clear` empties the caches) and try again; nothing half-written was kept."
        )
    if isinstance(error, MediaError) and not isinstance(error, OutputFailed):
        return BadMedia(str(error))
    if isinstance(error, MemoryError) or _is_device_memory(error):
        return OutOfMemory(
            f"The memory did not suffice while {doing}. Choose fewer frames or a smaller clip."
        )
    return Unexpected(
        f"Something unexpected went wrong while {doing} ({type(error).__name__}: {_first_line(error)}). "
        f"The details are in {log}."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__


def _without_room(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def _is_device_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # not imported for this: without torch, no error of torch's
    if torch is None:
        return False
    # Only CUDA has a type for it; the CPU's allocator and Apple's say it in a RuntimeError.
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no message"
