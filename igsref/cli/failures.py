"""What goes wrong in a command is one sentence in red and an exit code."""

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from igsref.cli.output import remark

NOT_COMPUTED, BAD_INPUT, INTERRUPTED, TERMINATED = 1, 2, 130, 143
"""Exit codes: of what was given right and cannot be computed; of what was given; of Ctrl-C; of
SIGTERM."""


class BadInput(ValueError):
    """Something that was given cannot be used; the message names it, and what was expected."""


@contextmanager
def one_sentence(command: str, debug: bool) -> Iterator[None]:
    """Say an error in a sentence on the standard error, and exit; a warning in a sentence too.

    debug: leave both as they are. SIGTERM ends the command as Ctrl-C does, so that no half-written
    file is left, with an exit code of its own.
    """
    with _interrupted_by_sigterm() as received, warnings.catch_warnings():
        if not debug:
            warnings.showwarning = _as_remark(command)
        try:
            yield
        except KeyboardInterrupt as error:
            word, code = ("terminated", TERMINATED) if received else ("interrupted", INTERRUPTED)
            _end(command, str(error) or word, code)
        except Exception as error:
            of_error = _exit_code(error)
            if debug or of_error is None:
                raise
            _end(command, _said(error), of_error)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[list[int]]:
    """Inside, SIGTERM raises KeyboardInterrupt, and is put on the list."""
    received: list[int] = []

    def interrupt(number: int, _frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received  # Python leaves signals to the main thread
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit_code(error: Exception) -> int | None:
    """None for what is no fault of what was given, but a mistake of igsref."""
    from safetensors import SafetensorError
    from torch import OutOfMemoryError

    if isinstance(error, MemoryError | ArithmeticError | OutOfMemoryError):
        return NOT_COMPUTED
    given = (ValueError, TypeError, OSError, ImportError, RuntimeError, SafetensorError)
    return BAD_INPUT if isinstance(error, given) else None


def _said(error: Exception) -> str:
    """Its message; with the name of its type where others than igsref may have raised it."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno is not None:  # the system's
        return _of_the_system(error)
    own = isinstance(error, ValueError | TypeError | OSError | MemoryError | ArithmeticError)
    if text and own:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _of_the_system(error: OSError) -> str:
    """The file that was given, rather than the one beside it that is written first."""
    reason = error.strerror or type(error).__name__
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return reason
    name = os.fsdecode(error.filename)
    return f"{name.removesuffix(f'.{os.getpid()}.part')}: {reason}"


def _as_remark(command: str) -> Any:
    """What prints a warning, for ``warnings.showwarning``."""

    def show(message: Warning | str, *_where: Any) -> None:
        remark(command, f"warning: {' '.join(str(message).split())}")

    return show


def _end(command: str, sentence: str, code: int) -> None:
    typer.secho(f"igsref {command}: {sentence}", err=True, fg=typer.colors.RED)
    raise typer.Exit(code)
