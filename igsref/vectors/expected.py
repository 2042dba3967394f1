"""The expected values of a network, proven afresh from the network itself."""

from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from torch import Tensor, nn

from igsref.exact.decimals import Decimals
from igsref.exact.spectrum import certified_eigenvalues
from igsref.measures.certify import certify
from igsref.problem import as_problem
from igsref.vectors.vector import Expected, Vector

DIGITS = 25
"""Of every decimal string, and of every number, relative to itself or to the IGS."""
_BATCH_SIZES = (1, 2, 5, 10)


def expected_values(
    model: nn.Sequential, inputs: Tensor, labels: Tensor, likelihood: str
) -> Expected:
    """What is expected of a network on labelled samples; IGS_b for a few b up to N.

    Raises ValueError for a network that exact arithmetic does not support.
    """
    problem = as_problem(model, (inputs, labels), likelihood=likelihood)
    # More digits than are written: the ends are then the number's own digits, rounded both ways.
    found = certify(problem, digits=DIGITS + 5)
    eigenvalues: tuple[Decimals, ...] = ()
    if found.rank is not None:
        eigenvalues = certified_eigenvalues(problem, found.rank, DIGITS + 5)
    sizes = sorted({b for b in _BATCH_SIZES if b <= len(inputs)} | {len(inputs)})
    return Expected(
        igs=_written(found.igs),
        ceiling=_written(found.ceiling_enclosure),
        rank=found.rank,
        full_batch=_written(found.full_batch),
        minibatch={b: _written(found.minibatch(b)) for b in sizes},
        per_sample=tuple(map(_written, found.per_sample)),
        eigenvalues=tuple(map(_written, eigenvalues)),
    )


def renewed(vector: Vector) -> Vector:
    """The same network with its expected values computed anew."""
    args: tuple[Any, ...] = (vector.model, vector.inputs, vector.labels, vector.likelihood)
    return replace(vector, expected=expected_values(*args))


def _written(value: Decimals) -> Decimals:
    """Ends of so many digits, rounded outwards; energies are not below 0."""
    low = max(Decimal(value.lower), Decimal(0))
    down, up = (Context(prec=DIGITS, rounding=r) for r in (ROUND_FLOOR, ROUND_CEILING))
    return Decimals(_text(down.plus(low)), _text(up.plus(Decimal(value.upper))))


def _text(value: Decimal) -> str:
    return str(value).lower()
