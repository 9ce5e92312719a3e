"""How a command fails: one sentence on stderr and an exit code; a traceback only for faults of our own."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

import typer

FAILURE = 1
BAD_INPUT = 2
INTERRUPTED = 130

_Parameters = ParamSpec("_Parameters")


class UsageFault(Exception):
    """Something in the command or its files is wrong; `str()` is a sentence for the user."""


def guarded(command: Callable[_Parameters, None]) -> Callable[_Parameters, None]:
    """Turns the errors that a command may end in into a sentence and an exit code."""

    @functools.wraps(command)
    def run(*arguments: _Parameters.args, **options: _Parameters.kwargs) -> None:
        try:
            command(*arguments, **options)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt as stopped:
            _say("stopped.", stopped)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader (`head`) has enough; the interpreter must not complain again as it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILURE) from None
        except Exception as error:
            code, sentence = judge(error)
            if sentence is None:
                raise  # a fault of ours: the traceback is what a bug report needs
            _say(sentence, error)
            raise typer.Exit(code) from None

    return run


def _say(sentence: str, error: BaseException) -> None:
    """One line: the sentence, and what was noted on the error's way up."""
    typer.echo(" ".join(["mattebox:", sentence, *getattr(error, "__notes__", [])]), err=True)


def judge(error: Exception) -> tuple[int, str | None]:
    """The exit code, and the sentence; no sentence for an error that is nobody's input."""
    if isinstance(error, UsageFault):
        return BAD_INPUT, str(error)
    if isinstance(error, OSError):
        return FAILURE, _system_sentence(error)
    # Imported only now: a command that succeeds need not wait for gRPC and PyAV.
    from mattebox_media import errors as media
    from mattebox_proto.errors import BackendError, InvalidEditFile, InvalidMessage

    if isinstance(error, (InvalidEditFile, InvalidMessage)):
        return BAD_INPUT, str(error)
    if isinstance(error, BackendError):
        return BAD_INPUT if error.usage else FAILURE, str(error)
    if isinstance(error, media.OutputFull):
        return FAILURE, str(error)
    if isinstance(error, media.MediaError):
        return BAD_INPUT, str(error)
    return FAILURE, None


def _system_sentence(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{where}; make room and try again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to read or write{where}; check the folder's rights."
    return f"{error.strerror or error}{where}."
