"""Lines on the standard output, for whoever still reads, and remarks beside them."""

import os
import sys
from collections.abc import Iterable

import typer


def show(lines: Iterable[str]) -> None:
    """Print lines, until the reader has had enough: ``igsref vectors list | head`` is no error."""
    try:
        for line in lines:
            typer.echo(line)
    except BrokenPipeError:
        # Python flushes once more at its end, and would fail again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def remark(command: str, sentence: str) -> None:
    """Say what a user would not expect, on the standard error."""
    typer.secho(f"igsref {command}: {sentence}", err=True, fg=typer.colors.YELLOW)
