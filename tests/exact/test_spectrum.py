"""Eigenvalues with proof: of matrices whose spectrum is known, and of F by another route."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from flint import arb, ctx
from torch import nn

from igsref import as_problem, rank_certificate
from igsref.exact.arithmetic import BALLS, Undecided
from igsref.exact.spectrum import (
    approximate_eigenvectors,
    certified_eigenvalues,
    nonzero_eigenvalues,
    pivoted_root,
)
from verification.networks import as_lists, draw_network
from verification.oracle import fisher_matrix
from verification.perceptron import labelled_samples

BITS = 256


def balls(matrix):
    return np.vectorize(arb, otypes=[object])(np.array(matrix, dtype=object))


def units(count):
    """Output metrics that change nothing."""
    return balls(np.ones((count, 1, 1), dtype=int))


def spectrum_of(gram, rank):
    with ctx.workprec(BITS):
        return nonzero_eigenvalues(balls(gram), units(len(gram)), rank)


def second_difference(count):
    """2 on the diagonal, −1 beside it: λ_k = 4 sin²(kπ/(2(n+1)))."""
    rows = range(count)
    return [[2 if i == j else -1 if abs(i - j) == 1 else 0 for j in rows] for i in rows]


def test_a_known_spectrum_is_enclosed_to_nearly_all_bits():
    count = 12
    found = spectrum_of(second_difference(count), count)
    with ctx.workprec(2 * BITS):
        for k, value in zip(range(count, 0, -1), found, strict=True):
            known = 4 * (arb.pi() * k / (2 * (count + 1))).sin() ** 2
            assert value.contains(known)
            assert value.rad() < abs(value) * arb(2) ** (-BITS // 2 + 8)


def test_small_eigenvalues_are_as_sharp_as_large_ones():
    """Of blocks [[2, 1], [1, 2]]·4^k: 3·4^k and 4^k."""
    sizes = [4**k for k in (0, 60, -60, 100)]
    gram = np.zeros((8, 8), dtype=object)
    for k, size in enumerate(sizes):
        block = np.array([[2, 1], [1, 2]], dtype=object) * Fraction(size)
        gram[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = block
    as_balls = [[arb(x.numerator) / x.denominator for x in map(Fraction, row)] for row in gram]
    found = spectrum_of(as_balls, 8)
    known = sorted((factor * Fraction(s) for s in sizes for factor in (1, 3)), reverse=True)
    for value, exact in zip(found, known, strict=True):
        assert value.contains(arb(exact.numerator) / exact.denominator)
        assert value.rad() < value * arb(2) ** (-BITS // 2 + 8)


def test_multiple_eigenvalues_come_as_often_as_they_occur():
    """11ᵀ + 2I of order 5: 7 once and 2 four times."""
    found = spectrum_of(np.ones((5, 5), dtype=int) + 2 * np.eye(5, dtype=int), 5)
    assert [value.contains(known) for value, known in zip(found, [7, 2, 2, 2, 2], strict=True)]
    assert all(value.contains(known) for value, known in zip(found, [7, 2, 2, 2, 2], strict=True))
    assert all(value.rad() < 1e-30 for value in found)


def test_what_is_beyond_the_rank_is_left_out():
    rows = np.array([[1, 2, 3], [2, 4, 6], [0, 1, 1], [1, 3, 4]])
    gram = rows @ rows.T
    found = spectrum_of(gram, 2)
    known = np.linalg.eigvalsh(gram.astype(float))[::-1][:2]
    assert [float(value.mid()) for value in found] == pytest.approx(known, rel=1e-12)
    assert spectrum_of(gram, 0) == []
    with pytest.raises(Undecided, match="pivot 2 of 3"):
        spectrum_of(gram, 3)


def test_the_root_has_the_matrix_as_its_square():
    rows = np.array([[1, 0, 2], [3, 1, 1], [4, 1, 3], [0, 0, 0]])
    gram = rows @ rows.T
    with ctx.workprec(BITS):
        root = pivoted_root(balls(gram), 2)
        again = BALLS.matmul(root, root.T)
        assert root.shape == (4, 2)
        for index, entry in np.ndenumerate(gram):
            assert again[index].contains(int(entry))
            assert again[index].rad() < 1e-60


def test_approximate_eigenvectors_make_the_matrix_diagonal():
    with ctx.workprec(BITS):
        matrix = balls(second_difference(7))
        vectors = approximate_eigenvectors(matrix)
        turned = BALLS.matmul(vectors.T, BALLS.matmul(matrix, vectors))
        off = turned - np.diag(turned.diagonal())
        assert max(float(abs(x).upper()) for x in off.ravel()) < 2.0 ** (-BITS // 2 + 2)


@pytest.mark.parametrize(("kind", "seed"), [("badly-scaled", 3), ("rank-deficient", 1)])
def test_fisher_eigenvalues_are_those_of_the_dense_matrix(kind, seed):
    """m × m in mpmath from the oracle's own F, at a precision that the scaling leaves enough of."""
    network = draw_network(kind, seed)
    problem = as_problem(network.model, (network.inputs, network.labels))
    rank = rank_certificate(problem).rank
    found = certified_eigenvalues(problem, rank, digits=25)
    with ctx.workprec(800), mpmath.workprec(800):
        fisher = fisher_matrix(labelled_samples(*as_lists(network)))
        dense = mpmath.matrix(
            [[mpmath.mpf(e.mid().str(240, radius=False)) for e in row] for row in fisher]
        )
        known = sorted(mpmath.eigsy(dense, eigvals_only=True), reverse=True)
        assert len(known) > rank
        for value, exact in zip(found, known, strict=False):
            low, high = (mpmath.mpf(end) for end in (value.lower, value.upper))
            # mpmath's own rounding, relative to the largest.
            slack = mpmath.mpf(2) ** -700 * known[0]
            assert low - slack <= exact <= high + slack
            assert value.digits >= 25
        assert max(map(abs, known[rank:])) < mpmath.mpf(2) ** -700 * known[0]


def test_linear_regression_has_every_eigenvalue_once_an_output():
    """F = I ⊗ Σ x xᵀ/N; of one feature and no bias that is Σ x²/N."""
    x = torch.tensor([[0.5], [1.25], [-3.0], [0.75]], dtype=torch.float64)
    model = nn.Linear(1, 3, bias=False).double()
    problem = as_problem(model, (x, torch.zeros(4, 3)), likelihood="gaussian")
    exact = sum(Fraction(v) ** 2 for v in x.flatten().tolist()) / 4
    found = certified_eigenvalues(problem, 3, digits=30)
    assert len(found) == 3
    assert all(value.contains(exact) and value.digits >= 30 for value in found)


def test_digits_beyond_reach_are_refused():
    x = torch.ones(2, 1, dtype=torch.float64) * torch.tensor([[1.0], [3.0]])
    problem = as_problem(nn.Linear(1, 2).double(), (x, torch.tensor([0, 1])))
    with pytest.raises(ArithmeticError, match="9000 digits of 2 eigenvalues"):
        certified_eigenvalues(problem, 2, digits=9000)
