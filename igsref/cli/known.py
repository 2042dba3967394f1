"""A few networks of known IGS, measured: whether what is installed computes right."""

from fractions import Fraction
from typing import Any

import igsref
from igsref.vectors import Vector, load

CHECKED = 3
"""Of the smallest reference vectors whose rank is decided."""


def smallest() -> list[Vector]:
    """The reference vectors with the fewest numbers, their ranks decided."""

    def size(vector: Vector) -> int:
        return len(vector.inputs) * sum(p.numel() for p in vector.model.parameters())

    decided = [vector for vector in load() if vector.expected.rank is not None]
    return sorted(decided, key=size)[:CHECKED]


def checked(vector: Vector) -> dict[str, Any]:
    """A vector's proven value, and the bracket that is found here."""
    expected = vector.expected.igs
    data = vector.inputs, vector.labels
    result = igsref.exact_igs(vector.model, data, likelihood=vector.likelihood)
    low, high = (Fraction(end) for end in (expected.lower, expected.upper))
    right = Fraction(result.lower) <= low and high <= Fraction(result.upper)
    return {
        "name": vector.name,
        "proven": [expected.lower, expected.upper],
        "found": [result.lower, result.upper],
        "right": right,
    }
