"""Ranks modulo a prime, and integral multiples."""

from flint import fmpq

from verification.claims.linear_algebra import matrix
from verification.claims.rank import integral, rank_and_minor


def test_integral_rows_are_multiples() -> None:
    assert integral(matrix([[fmpq(1, 2), fmpq(-1, 3)], [4, 0]])) == [[3, -2], [4, 0]]


def test_minor_of_the_pivots() -> None:
    rows = [[0, 2, 4], [0, 1, 2], [0, 0, 3]]
    assert rank_and_minor(rows, 5) == (2, [0, 2], [1, 2])
    assert rank_and_minor(rows, 3) == (1, [0], [1])
