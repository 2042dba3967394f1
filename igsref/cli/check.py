"""``igsref check PACKAGE.MODULE:NAME``: an implementation against the vectors and the laws."""

import json
from pathlib import Path
from typing import Annotated

import typer

from igsref.cli.named import FORM, NothingNamed, importable, named_function
from igsref.cli.output import show
from igsref.conformance import conformance, report
from igsref.conformance.invariance import EXAMPLES
from igsref.vectors import load


def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar=FORM,
            help="f(model, data) -> number, data = (inputs, labels); found from the current "
            "directory too. It takes likelihood= if it knows more than the categorical one.",
        ),
    ],
    examples: Annotated[
        int, typer.Option(min=1, help="random networks for each transformation")
    ] = EXAMPLES,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="file for all that was found")
    ] = None,
) -> None:
    """Hold your own IGS to the reference vectors and to the law of invariance.

    Exit code 0 if all that was asked is right and all laws hold, 1 if not, 2 for no function or no
    file to write to.
    """
    with importable(Path.cwd()):
        try:
            function = named_function(name)
        except NothingNamed as error:
            typer.echo(f"igsref check: {error}", err=True)
            raise typer.Exit(2) from error
        if json_file is not None:
            _make_file(json_file)
        found = conformance(function, load(), examples=examples)
    show([report(found)])
    if json_file is not None:
        text = json.dumps({"function": name} | found.to_dict(), indent=1, allow_nan=False)
        json_file.write_text(f"{text}\n", encoding="utf-8")
    raise typer.Exit(0 if found.passed else 1)


def _make_file(file: Path) -> None:
    """A file that can be written to, in a directory that exists, before anything takes minutes."""
    try:
        file.open("a").close()
    except OSError as error:
        raise typer.BadParameter(f"--json must name a file that can be written; {error}") from error
