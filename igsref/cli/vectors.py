"""``igsref vectors``: write the reference vectors anew, and list them."""

from pathlib import Path
from typing import Annotated

import typer

from igsref.cli.failures import one_sentence
from igsref.cli.options import Debug
from igsref.cli.output import show

app: typer.Typer = typer.Typer(
    help="Reference vectors: networks with proven values.", no_args_is_help=True
)


@app.command()
def write(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Where the files go; made if need be.")
    ],
    debug: Debug = False,
) -> None:
    """Compute the values of the package's networks anew and write all files; takes minutes.

    The files are those of the package, bit for bit.

    Example: igsref vectors write own_vectors
    """
    with one_sentence("vectors write", debug):
        import igsref.vectors  # takes torch, which --help does without

        written = igsref.vectors.write(directory)
        show([f"{len(written)} vectors written to {directory}"])


@app.command(name="list")
def list_vectors(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIRECTORY", help="Where they are. Those of the package unless given."
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print name, sizes, rank, IGS and tags of every vector.

    Example: igsref vectors list
    """
    with one_sentence("vectors list", debug):
        # These take torch, which --help does without.
        from igsref.cli.vector_lines import line
        from igsref.vectors import load

        show(map(line, load(directory)))
