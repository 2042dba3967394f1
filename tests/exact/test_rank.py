"""The exact rank of Gram matrices, what proves it, and what a false proof looks like."""

from dataclasses import replace
from itertools import chain, repeat

import jaxtyping
import numpy as np
import pytest
import torch
from flint import fmpq, fmpq_mat
from hypothesis import given, settings
from hypothesis import strategies as st

from igsref.exact import rank
from igsref.exact.arithmetic import RATIONALS
from igsref.exact.rank import (
    RankError,
    affordable_rank,
    certified_rank,
    lower_rank,
    null_seconds,
    null_vectors,
)
from tests.strategies import SEEDS, gaussian


def gram(rows):
    """D Dᵀ of a matrix of rationals, an array of objects."""
    return RATIONALS.matmul(rows, rows.T)


def flint_rank(matrix):
    return fmpq_mat(matrix.tolist()).rank()


def whole(rows):
    """A matrix of integers as rationals."""
    return RATIONALS.array(torch.tensor(rows, dtype=torch.float64))


@st.composite
def grams(draw):
    """Of products of whole numbers, halves and thirds; ranks from 0 to full."""
    n, r, m = draw(st.integers(1, 6)), draw(st.integers(0, 6)), draw(st.integers(1, 7))
    entry = st.builds(fmpq, st.integers(-3, 3), st.sampled_from([1, 1, 2, 3]))

    def matrix(rows, columns):
        values = draw(st.lists(entry, min_size=rows * columns, max_size=rows * columns))
        out = np.empty(rows * columns, dtype=object)
        out[:] = values
        return out.reshape(rows, columns)

    return gram(RATIONALS.matmul(matrix(n, r), matrix(r, m)) if r else RATIONALS.zeros(n, m))


@settings(max_examples=50)
@given(grams())
def test_rank_is_flint_s_and_its_certificate_holds(matrix):
    found = certified_rank(matrix)
    assert found.rank == flint_rank(matrix)
    assert found.holds(matrix) is True
    assert found.null.shape == (len(matrix) - found.rank, len(matrix))
    assert not RATIONALS.matmul(found.null, matrix).any()


@settings(max_examples=50)
@given(grams())
def test_a_bound_that_is_met_saves_the_null_vectors(matrix):
    true = flint_rank(matrix)
    met, loose = certified_rank(matrix, true), certified_rank(matrix, true + 1)
    assert (met.rank, loose.rank) == (true, true)
    assert met.null is None and met.known == true
    assert loose.null is not None and loose.known is None
    assert met.holds(matrix) is True and loose.holds(matrix) is True


@given(seed=SEEDS, samples=st.integers(2, 9), columns=st.integers(1, 6))
def test_floats_of_full_length_have_their_rank_too(seed, samples, columns):
    D = RATIONALS.array(gaussian(seed, samples, columns))
    doubled = np.concatenate([D, D[:1] + D[-1:]])  # one more row, in the span of the others
    found = certified_rank(gram(doubled))
    assert found.rank == min(samples, columns) == flint_rank(gram(doubled))
    assert found.holds(gram(doubled)) is True


# Unlucky primes.


def primes_from(monkeypatch, primes):
    """The search takes these, in order; afterwards a large one."""
    rest = chain(primes, repeat(2**61 - 1))
    monkeypatch.setattr(rank, "_next_prime", lambda above: next(rest))


SMALL = [2, 3, 5, 7, 11, 13, 17]


@pytest.mark.parametrize("primes", [[p] for p in SMALL] + [SMALL])
@settings(max_examples=25)
@given(matrix=grams())
def test_small_primes_never_give_a_wrong_rank(primes, matrix):
    with pytest.MonkeyPatch.context() as patch:
        primes_from(patch, primes)
        found = certified_rank(matrix)
    assert found.rank == flint_rank(matrix)
    assert found.holds(matrix) is True


def test_a_prime_that_divides_every_minor_is_passed_over(monkeypatch):
    matrix = gram(whole([[3, 0], [0, 3], [3, 3]]))
    assert lower_rank(matrix, 3) == ()
    assert lower_rank(matrix, 5) == (0, 1)
    primes_from(monkeypatch, [3, 5])
    found = certified_rank(matrix)
    assert (found.prime, found.rank) == (5, 2)
    assert found.holds(matrix)


def test_a_prime_that_divides_a_denominator_gives_no_false_pivots(monkeypatch):
    matrix = gram(whole([[1, 0], [0, 1]]) / np.array([[fmpq(3)], [fmpq(1)]], dtype=object))
    assert len(lower_rank(matrix, 3)) < 2
    primes_from(monkeypatch, [3, 5])
    assert certified_rank(matrix).rank == 2


def test_nothing_is_certified_where_every_prime_is_unlucky(monkeypatch):
    matrix = gram(whole([[2, 0], [0, 2]]))
    primes_from(monkeypatch, [2] * 8)
    with pytest.raises(RankError, match="8 primes gave no certificate of the rank"):
        certified_rank(matrix)


@settings(max_examples=50)
@given(matrix=grams(), prime=st.sampled_from(SMALL))
def test_pivots_modulo_any_prime_are_independent(matrix, prime):
    pivots = list(lower_rank(matrix, prime))
    assert len(pivots) <= flint_rank(matrix)
    if pivots:
        assert flint_rank(matrix[pivots][:, pivots]) == len(pivots)


# Certificates that lie.


MATRIX = gram(whole([[1, 2, 0], [0, 1, 1], [1, 3, 1], [2, 0, 5], [2, 4, 0]]))
TRUE = certified_rank(MATRIX)
"""Rank 3; rows 2 and 4 depend on the others."""


def changed(row, column, by):
    null = TRUE.null.copy()
    null[row, column] += fmpq(by)
    return replace(TRUE, null=null)


TAMPERED = {
    "a pivot less": replace(TRUE, pivots=TRUE.pivots[:-1]),
    "a pivot more": replace(TRUE, pivots=(*TRUE.pivots, 2)),
    "another pivot": replace(TRUE, pivots=(0, 1, 2)),
    "a pivot twice": replace(TRUE, pivots=(0, 0, 1)),
    "no prime": replace(TRUE, prime=2**62),
    "one": replace(TRUE, prime=1),
    "no null vectors": replace(TRUE, null=None),
    "a bound that is not met": replace(TRUE, null=None, known=4),
    "a null vector less": replace(TRUE, null=TRUE.null[:1]),
    "a null vector twice": replace(TRUE, null=TRUE.null[[0, 0]]),
    "a zero vector": replace(TRUE, null=TRUE.null * fmpq(0)),
    "shorter vectors": replace(TRUE, null=TRUE.null[:, :-1]),
    **{f"entry {i}, {j}": changed(i, j, 1) for i in range(2) for j in range(5)},
    "a tiny change": changed(0, 0, fmpq(1, 2**400)),
}


def test_an_honest_certificate_holds():
    assert (TRUE.rank, TRUE.pivots) == (3, (0, 1, 3)) and TRUE.null.shape == (2, 5)
    assert TRUE.holds(MATRIX) is True
    assert replace(TRUE, null=None, known=3).holds(MATRIX) is True


@pytest.mark.parametrize("name", TAMPERED)
def test_a_certificate_that_was_tampered_with_does_not_hold(name):
    assert TAMPERED[name].holds(MATRIX) is False


def test_a_prime_that_divides_the_minor_proves_nothing():
    determinant = fmpq_mat(MATRIX[[0, 1, 3]][:, [0, 1, 3]].tolist()).det()
    divisors = [p for p in SMALL if int(determinant.p) % p == 0]
    assert divisors
    assert [replace(TRUE, prime=p).holds(MATRIX) for p in divisors] == [False] * len(divisors)


def test_a_certificate_of_another_matrix_does_not_hold():
    other = MATRIX.copy()
    other[2, 2] += fmpq(1)
    assert TRUE.holds(other) is False


def test_a_matrix_of_another_size_does_not_hold():
    assert TRUE.holds(MATRIX[:2, :2]) is False
    assert replace(TRUE, null=None, known=3).holds(MATRIX[:4, :4]) is True  # its pivots are there
    assert replace(TRUE, pivots=(-5, 1, 3)).holds(MATRIX) is False


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        (torch.eye(5), r"got a tensor of shape \(5, 5\)"),
        (np.eye(5), r"got shape \(5, 5\) and float64"),
        (MATRIX[:2], r"got shape \(2, 5\) and object"),
        (np.full((5, 5), 0, dtype=object), "got int 0 in it"),
    ],
)
def test_what_is_no_matrix_of_rationals_is_refused(gram, message, monkeypatch):
    # Without the annotations that pytest executes: they would refuse first, in other words.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=rf"gram must be the \(n, n\) rationals of .*; {message}"):
        TRUE.holds(gram)


def test_a_certificate_is_told_in_one_line():
    by_null = f"RankCertificate(rank 3: prime {TRUE.prime}, 3 pivots, 2 null vectors)"
    assert repr(TRUE) == str(TRUE) == by_null
    met = replace(TRUE, null=None, known=3)
    assert str(met).endswith("3 pivots, known bound 3)")


# What it costs.


def test_null_vectors_that_take_too_long_are_not_begun(monkeypatch):
    predicted = null_seconds(3, 2, rank._bits(MATRIX))
    assert predicted > 0
    assert affordable_rank(MATRIX, None, predicted).rank == 3
    monkeypatch.setattr(rank, "null_vectors", lambda *_: pytest.fail("begun"))
    assert affordable_rank(MATRIX, None, predicted * 0.99) is None
    assert affordable_rank(MATRIX, 3, 0.0).rank == 3


def test_prediction_grows_with_pivots_vectors_and_bits():
    base = null_seconds(10, 10, 100)
    assert null_seconds(20, 10, 100) == 4 * base
    assert null_seconds(10, 20, 100) == null_seconds(10, 10, 200) == 2 * base


def test_null_vectors_name_one_row_each():
    null = null_vectors(MATRIX, TRUE.pivots)
    others = null[:, [2, 4]]
    assert (others == whole([[1, 0], [0, 1]])).all()
    assert not (null @ MATRIX).any()


def test_primes_are_large_and_prime():
    found = certified_rank(MATRIX).prime
    assert 2**62 < found < 2**63  # words of a machine
    assert all(pow(a, found - 1, found) == 1 for a in SMALL)
