"""The command line: ``igsref``, each group of commands in a module of its own."""

from typing import Annotated

import typer

from igsref import __version__
from igsref.cli import check, doctor, measure, report, vectors

app: typer.Typer = typer.Typer(name="igsref", no_args_is_help=True, add_completion=False)


def _print_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"igsref {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Exact-geometry reference implementation of information-geometric sharpness (IGS).

    Example: igsref measure nets:lenet digits.npz --weights lenet.safetensors
    """


app.add_typer(vectors.app, name="vectors")
for _command in (
    measure.plan,
    measure.measure,
    measure.compare,
    measure.certify,
    report.report,
    check.check,
    doctor.doctor,
):
    app.command()(_command)
