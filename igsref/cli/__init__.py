"""The command line: ``igsref``, each group of commands in a module of its own."""

import typer

from igsref.cli import check, vectors

app = typer.Typer(
    name="igsref",
    help="Exact-geometry reference implementation of information-geometric sharpness (IGS).",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(vectors.app, name="vectors")
app.command(name="check")(check.check)
