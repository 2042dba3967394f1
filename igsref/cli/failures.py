"""What goes wrong in a command is one sentence in red and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import typer

BAD_INPUT, NOT_COMPUTED, INTERRUPTED = 2, 1, 130
"""Exit codes: of what was given; of what was given right and cannot be computed; of Ctrl-C."""


class BadInput(ValueError):
    """Something that was given cannot be used; the message names it, and what was expected."""


@contextmanager
def one_sentence(command: str, debug: bool) -> Iterator[None]:
    """Say an error in a sentence on the standard error, and exit. debug: leave it as it is."""
    if debug:
        yield
        return
    try:
        yield
    except KeyboardInterrupt as error:
        _end(command, str(error) or "interrupted", INTERRUPTED)
    except (MemoryError, ArithmeticError, torch.OutOfMemoryError) as error:
        _end(command, _said(error), NOT_COMPUTED)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        _end(command, _said(error), BAD_INPUT)


def _said(error: BaseException) -> str:
    """Its message; with the name of its type where others than igsref may have raised it."""
    text = " ".join(str(error).split())
    own = isinstance(error, ValueError | TypeError | MemoryError | ArithmeticError)
    own = own or (isinstance(error, OSError) and error.errno is None)  # not the system's
    if text and own:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _end(command: str, sentence: str, code: int) -> None:
    typer.secho(f"igsref {command}: {sentence}", err=True, fg=typer.colors.RED)
    raise typer.Exit(code)
