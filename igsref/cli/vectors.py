"""``igsref vectors``: write the reference vectors anew, and list them."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from pathlib import Path
from typing import Annotated

import typer

from igsref.cli.output import show
from igsref.exact.decimals import Decimals
from igsref.vectors import Vector, VectorError, load
from igsref.vectors import write as write_vectors

app: typer.Typer = typer.Typer(
    help="Reference vectors: networks with proven values.", no_args_is_help=True
)


@app.command()
def write(
    directory: Annotated[Path, typer.Argument(help="Where the files go; made if need be.")],
) -> None:
    """Compute the values of the package's networks anew and write all files; takes minutes.

    The files are those of the package, bit for bit.
    """
    try:
        written = write_vectors(directory)
    except OSError as error:
        raise typer.BadParameter(f"must be a directory that can be written to; {error}") from error
    typer.echo(f"{len(written)} vectors written to {directory}")


@app.command(name="list")
def list_vectors(
    directory: Annotated[
        Path | None, typer.Argument(help="Where they are; those of the package by default.")
    ] = None,
) -> None:
    """Print name, sizes, rank, IGS and tags of every vector."""
    try:
        vectors = load(directory)
    except (VectorError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    show(map(_line, vectors))


def _line(vector: Vector) -> str:
    expected = vector.expected
    count = sum(parameter.numel() for parameter in vector.model.parameters())
    rank = "undecided" if expected.rank is None else str(expected.rank)
    igs = f"{float(expected.igs):.6g}"
    if expected.rank is None:
        igs = _interval(expected.igs)
    return (
        f"{vector.name:28}  N {len(vector.inputs):3}  m {count:4}  rank {rank:>9}  "
        f"IGS {igs:<15}  {', '.join(vector.tags)}"
    )


def _interval(value: Decimals) -> str:
    """Both ends in four digits, rounded outwards.

    >>> _interval(Decimals("23.68453", "30.83673"))
    '23.68–30.84'
    """
    down, up = (Context(prec=4, rounding=rounding) for rounding in (ROUND_FLOOR, ROUND_CEILING))
    low, high = down.plus(Decimal(value.lower)), up.plus(Decimal(value.upper))
    return f"{low}–{high}".lower()
