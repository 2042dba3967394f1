"""Exact linear algebra against its defining equations."""

import random

import pytest
from flint import fmpq, fmpq_mat

from verification.claims.linear_algebra import (
    basis,
    beside,
    column,
    completed,
    dot,
    identity,
    matrix,
    null_basis,
    projector,
    pseudo_inverse,
    random_of_rank,
    select,
    stack,
    zeros,
)

SHAPES = [(4, 6, 3), (6, 4, 4), (3, 3, 1), (5, 5, 5)]


@pytest.fixture(params=SHAPES, ids=str)
def known(request: pytest.FixtureRequest) -> tuple[fmpq_mat, int]:
    rows, columns, rank = request.param
    return random_of_rank(random.Random(rank), rows, columns, rank), rank


def test_pseudo_inverse_satisfies_the_four_equations(known: tuple[fmpq_mat, int]) -> None:
    a, _ = known
    x = pseudo_inverse(a)
    assert a * x * a == a
    assert x * a * x == x
    assert (a * x).transpose() == a * x
    assert (x * a).transpose() == x * a


def test_projector_is_orthogonal_and_onto_the_range(known: tuple[fmpq_mat, int]) -> None:
    a, rank = known
    p = projector(a)
    assert p * p == p == p.transpose()
    assert p * a == a
    assert p.rank() == rank == basis(a).ncols()


def test_null_basis_spans_the_kernel(known: tuple[fmpq_mat, int]) -> None:
    a, rank = known
    vectors = null_basis(a)
    assert len(vectors) == a.ncols() - rank
    assert all(a * v == zeros(a.nrows(), 1) for v in vectors)
    if vectors:
        assert beside(vectors).rank() == len(vectors)


def test_completed_keeps_the_rows_and_is_invertible() -> None:
    a = random_of_rank(random.Random(2), 3, 5, 3)
    whole = completed(a)
    assert select(whole, range(3), range(5)) == a
    assert whole.det() != 0


def test_zero_has_no_range() -> None:
    assert projector(zeros(3, 2)) == zeros(3, 3)
    assert pseudo_inverse(zeros(3, 2)) == zeros(2, 3)


def test_blocks() -> None:
    a, b = matrix([[1, 2]]), matrix([[3], [4]])
    assert stack([a, a]) == matrix([[1, 2], [1, 2]])
    assert beside([b, b]) == matrix([[3, 3], [4, 4]])
    assert dot(column([1, fmpq(1, 2)]), b) == 5
    assert identity(2) == matrix([[1, 0], [0, 1]])
