"""Outputs that appear whole or not at all: written beside their place, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import av.error

from mattebox_media.errors import MediaError, OutputFailed, OutputFull

_FULL: Final = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up",
                errno.EFBIG: "the file is larger than allowed here"}  # fmt: skip


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary file name in the same folder; what is written there replaces ``path`` when the block ends
    well.

    After an error nothing is left of it and what stood at ``path`` stands. Raises OutputFull and
    OutputFailed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with output_errors(path):
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files move into ``folder`` when the block ends well.

    A folder that is new appears at once. Into one that exists the files move one by one, each whole; the
    temporary one stands in it then, for what lies around it may be another disk or closed to this user.
    Raises OutputFull and OutputFailed.
    """
    folder = folder.absolute()
    temporary = (folder if folder.exists() else folder.parent) / f".{secrets.token_hex(4)}.part"
    try:
        with output_errors(folder):
            temporary.mkdir()
            yield temporary
            files = sorted(temporary.iterdir())
            for file in files:
                _flush_to_disk(file)
            if folder.exists():
                for file in files:
                    file.replace(folder / file.name)
            else:
                temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Errors of the operating system and of FFmpeg, numbered alike, as sentences about ``path``."""
    try:
        yield
    except MediaError:
        raise
    except (OSError, av.error.FFmpegError) as error:
        if error.errno in _FULL:
            raise OutputFull(
                f"{path} could not be written: {_FULL[error.errno]}; free some space or write elsewhere. "
                f"Nothing was left behind."
            ) from error
        raise OutputFailed(
            f"{path} could not be written: {(error.strerror or str(error)).lower()}; check the folder "
            f"and its permissions."
        ) from error


def _flush_to_disk(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
