"""``igsref check PACKAGE.MODULE:NAME``: an implementation against the vectors and the laws."""

import json
from pathlib import Path
from typing import Annotated

import typer

from igsref.cli.failures import NOT_COMPUTED, one_sentence
from igsref.cli.options import FORM, AsJson, Debug
from igsref.cli.output import show


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
        int | None,
        typer.Option(min=1, help="Random networks for each transformation. 20 unless given."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Hold your own IGS to the reference vectors and to the law of invariance.

    Exit code 0 if all that was asked is right and all laws hold, 1 if not, 2 for no function.

    Example: igsref check mine:igs --examples 2
    """
    with one_sentence("check", debug):
        # These take torch, which --help does without.
        from igsref.cli.named import importable, named_function
        from igsref.conformance import conformance, report
        from igsref.vectors import load

        with importable(Path.cwd()):
            function = named_function(name)
            asked = {} if examples is None else {"examples": examples}
            found = conformance(function, load(), **asked)
        text = json.dumps({"function": name} | found.to_dict(), allow_nan=False)
        show([text if as_json else report(found)])
    raise typer.Exit(0 if found.passed else NOT_COMPUTED)
