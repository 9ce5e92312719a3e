"""Any exception becomes one sentence of the right kind."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from mattebox_backend.errors import MatteboxError, UnknownMethod
from mattebox_backend.faults import explain
from mattebox_media.errors import NotAVideo, OutputFailed, OutputFull
from mattebox_proto.errors import KINDS, InvalidMessage

LOG = Path("/logs/backend.log")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (UnknownMethod("The method x is unknown."), "invalid-request", "^The method x is unknown.$"),
        (InvalidMessage("a mask has no runs"), "invalid-request", "a mask has no runs"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk-full", "disk is full.*while rendering"),
        (OSError(errno.EDQUOT, "quota"), "disk-full", "disk is full"),
        (OutputFull("full"), "disk-full", "disk is full"),
        (caused(OutputFailed("x"), OSError(errno.EFBIG, "File too large")), "disk-full", "disk is full"),
        (NotAVideo("x.mp4 holds no video."), "bad-media", "^x.mp4 holds no video.$"),
        (MemoryError(), "out-of-memory", "fewer frames"),
        (
            PermissionError(errno.EACCES, "denied"),
            "internal",
            r"rendering \(PermissionError.*/logs/backend.log",
        ),
        (ValueError("a\nb"), "internal", r"\(ValueError: a\)"),
        (ValueError(), "internal", r"\(ValueError: no message\)"),
    ],
)
def test_an_exception_becomes_a_sentence_of_its_kind(error: Exception, kind: str, words: str) -> None:
    fault = explain(error, doing="rendering", log=LOG)
    assert fault.kind == kind
    assert fault.kind in KINDS
    assert "\n" not in str(fault)
    assert re.search(words, str(fault))


def test_torchs_out_of_memory_is_known() -> None:
    torch = pytest.importorskip("torch")
    fault = explain(torch.OutOfMemoryError("CUDA out of memory"), doing="rendering", log=LOG)
    assert fault.kind == "out-of-memory"
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert explain(caught.value, doing="rendering", log=LOG).kind == "out-of-memory"


def test_a_ring_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert explain(first, doing="rendering", log=LOG).kind == "internal"


def test_every_error_of_ours_has_a_kind_that_travels() -> None:
    def kinds(error: type[MatteboxError]) -> set[str]:
        return {error.kind}.union(*(kinds(child) for child in error.__subclasses__()))

    assert kinds(MatteboxError) <= KINDS.keys()
