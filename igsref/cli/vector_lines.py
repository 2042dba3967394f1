"""A reference vector as a line of a list."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from igsref.exact.decimals import Decimals
from igsref.vectors import Vector


def line(vector: Vector) -> str:
    """Name, sizes, rank, IGS and tags."""
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
