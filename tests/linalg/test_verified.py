"""Proofs in floating point against the rationals."""

import pytest
import torch
from flint import fmpq, fmpq_mat
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from igsref.linalg.rounding import UNIT
from igsref.linalg.verified import (
    cholesky_distance,
    gram_matrix,
    independent_rows,
    smallest_eigenvalue,
)
from tests.linalg.exact import doubles, entries, fraction, identity, rational, square
from tests.strategies import SEEDS, gaussian


def spectrum(seed: int, values: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """A symmetric matrix of floats with about these eigenvalues."""
    basis, _ = torch.linalg.qr(gaussian(seed, len(values), len(values)))
    matrix = ((basis * values) @ basis.mT).to(dtype)
    return matrix.tril() + matrix.tril(-1).mT


def is_positive(matrix: fmpq_mat) -> bool:
    """Whether all pivots of a symmetric rational matrix are positive."""
    rows = entries(matrix)
    for k, pivot in enumerate(rows):
        if pivot[k] <= 0:
            return False
        for row in rows[k + 1 :]:
            share = row[k] / pivot[k]
            row[k:] = [a - share * b for a, b in zip(row[k:], pivot[k:], strict=True)]
    return True


def exceeds(matrix: Tensor, bound: float) -> bool:
    """λ_min > bound, exactly."""
    return is_positive(rational(matrix) - fraction(bound) * identity(len(matrix)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nothing_false_is_proven_of_matrices_at_the_edge(dtype):
    # λ_min from −8 to 8 times n u, where the rounding of Cholesky decides: 300 of both kinds.
    proven = 0
    for seed in range(150):
        edge = 6 * torch.finfo(dtype).eps / 2 * float(gaussian(seed, 1)[0].clamp(-2, 2)) * 4
        matrix = spectrum(seed, doubles([1.0, 0.7, 0.3, 0.01, 1e-4, edge]), dtype)
        bound = smallest_eigenvalue(matrix)
        if bound > float("-inf"):
            assert exceeds(matrix, bound), f"seed {seed}: {bound}"
        proven += bound > 0
    assert 20 < proven < 130  # the edge is where it was meant to be


@given(seed=SEEDS, n=st.integers(1, 8), decades=st.floats(0, 12), power=st.integers(-300, 300))
@settings(max_examples=60)
def test_a_bound_is_below_the_smallest_eigenvalue_and_close_to_it(seed, n, decades, power):
    values = torch.logspace(0, -decades, n, dtype=torch.float64)
    matrix = spectrum(seed, values) * 2.0**power
    bound = smallest_eigenvalue(matrix)
    assert exceeds(matrix, bound)
    # The largest share is 0.9 of an estimate; the next is 0.5. What is lost to rounding is
    # (64 + n) u trace, and less than a tenth here.
    assert bound >= 0.4 * float(values.min()) * 2.0**power


@pytest.mark.parametrize("n", [30, 100, 700])
def test_it_is_sharp_to_a_small_multiple_of_the_rounding_of_a_trace(n):
    # γ trace(A) is what proving needs, γ of 64 + n/64 roundings; and what Cholesky itself does.
    values = torch.ones(n, dtype=torch.float64)
    values[-1] = 2 * (66 + n // 64) * UNIT * n
    assert 0 < smallest_eigenvalue(spectrum(1, values)) <= float(values[-1])


def test_what_is_not_positive_definite_has_no_bound():
    assert smallest_eigenvalue(spectrum(0, doubles([1.0, 0.5, -0.1]))) == float("-inf")
    assert smallest_eigenvalue(doubles([[0.0]])) == float("-inf")
    assert smallest_eigenvalue(doubles([[float("nan"), 0.0], [0.0, 1.0]])) == float("-inf")
    assert smallest_eigenvalue(doubles([[float("inf")]])) == float("-inf")
    assert smallest_eigenvalue(torch.empty(0, 0)) == float("inf")


def test_only_the_lower_triangle_counts():
    matrix = spectrum(3, doubles([1.0, 0.5, 0.25]))
    other = matrix + torch.triu(torch.ones(3, 3).double(), diagonal=1)
    assert smallest_eigenvalue(other) == smallest_eigenvalue(matrix)


@given(seed=SEEDS, n=st.integers(1, 6), power=st.sampled_from([-500, -1, 0, 200]))
@settings(max_examples=40)
def test_the_distance_of_a_factor_counts_what_its_product_rounds(seed, n, power):
    # The matrix is L Lᵀ to rounding: what is measured is next to nothing, what is true is not.
    factor = gaussian(seed, n, n).tril() * 2.0 ** (power // 2)
    shift = 0.3 * 2.0**power
    matrix = factor @ factor.mT
    matrix.diagonal().add_(shift)
    exact = rational(factor) * rational(factor.mT.contiguous()) - rational(matrix)
    exact = exact + fraction(shift) * identity(n)
    bound = cholesky_distance(matrix, factor, shift)
    assert square(exact) <= fraction(bound) ** 2
    assert bound <= 200 * UNIT * (float(factor.square().sum()) + shift) + 1e-150


@given(seed=SEEDS)
@settings(max_examples=10)
def test_a_distance_is_that_of_any_factor(seed):
    matrix, factor = spectrum(seed, doubles([1.0, 0.5, 0.2, 0.1])), gaussian(seed, 4, 4).tril()
    exact = rational(factor) * rational(factor.mT.contiguous()) - rational(matrix)
    bound = cholesky_distance(matrix, factor, 0.0)
    assert square(exact) <= fraction(bound) ** 2 <= square(exact) * (1 + fraction(1e-12))


def test_a_distance_adds_up_over_panels():
    n = 1100  # more than two panels
    factor = torch.eye(n, dtype=torch.float64)
    matrix = torch.eye(n, dtype=torch.float64)
    matrix[1030, 3] = 3.0  # counted twice: the matrix is symmetric
    matrix[700, 700] = 3.0
    assert cholesky_distance(matrix, factor, 0.0) == pytest.approx(22**0.5, rel=3e-9)


@given(seed=SEEDS, n=st.integers(1, 4), k=st.sampled_from([1, 5, 70, 200]), spread=st.booleans())
@settings(max_examples=40)
def test_a_gram_matrix_is_as_good_as_it_says(seed, n, k, spread):
    rows = gaussian(seed, n, k)
    if spread:  # products that underflow, too
        rows = rows * 2.0 ** torch.randint(
            -560, 60, (n, k), generator=torch.Generator().manual_seed(seed)
        )
    gram, rounding = gram_matrix(rows)
    exact = rational(rows) * rational(rows.mT.contiguous())
    errors = entries(rational(gram) - exact)
    allowed = [fraction(d) for d in rounding.tolist()]
    for i, row in enumerate(errors):
        assert all(abs(e) <= allowed[i] * d for e, d in zip(row, allowed, strict=True))
    assert torch.equal(gram, gram.mT)
    largest = 300 * UNIT * rows.norm(dim=1).square() + 1e-300
    assert bool((rounding.square() <= largest).all())


def test_a_gram_matrix_counts_products_that_vanish():
    rows = torch.full((2, 9), 2.0**-540, dtype=torch.float64)
    gram, rounding = gram_matrix(rows)
    assert not gram.any()
    exact = 9 * fraction(2.0**-540) ** 2
    assert exact <= fraction(float(rounding[0])) * fraction(float(rounding[1]))


def test_a_gram_matrix_is_put_together_from_panels():
    rows = gaussian(0, 1030, 3)
    gram, _ = gram_matrix(rows)
    assert torch.allclose(gram, rows @ rows.mT, rtol=0, atol=40 * UNIT * float(gram.max()))


def proof(rows: Tensor, error: Tensor):
    return independent_rows(*gram_matrix(rows), error)


def nearest_dependence(rows: Tensor) -> fmpq:
    """det of the exact Gram matrix."""
    return (rational(rows) * rational(rows.mT.contiguous())).det()


@given(seed=SEEDS, n=st.integers(2, 5), share=st.floats(0.01, 3.0))
@settings(max_examples=40)
def test_no_error_that_is_allowed_makes_proven_rows_dependent(seed, n, share):
    # What takes the last row onto the span of the others has the length of what stands out of it.
    rows = gaussian(seed, n, n + 2)
    rows[-1] = rows[-1] * 1e-4 + rows[:-1].sum(dim=0)
    basis = torch.linalg.qr(rows[:-1].mT).Q
    outside = rows[-1] - basis @ (basis.mT @ rows[-1])
    error = torch.zeros(n, dtype=torch.float64)
    error[-1] = share * outside.norm()
    found = proof(rows, error)
    assert found.proven
    assert found.smallest <= float(torch.linalg.svdvals(rows[found.rows])[-1]) * (1 + 1e-12)
    assert len(found.rows) >= n - 1  # the others are left
    if share >= 1:
        assert len(found.rows) == n - 1


def test_rows_are_proven_up_to_their_error():
    rows = doubles([[1.0, 0.0, 0.0], [1.0, 1e-3, 0.0]])
    # σ_min = 1e-3/√2 to first order; at least half of its square is proven.
    for share, count in ((0.5, 2), (1.1, 1)):
        error = doubles([0.0, share * 1e-3 / 2**0.5])
        assert len(proof(rows, error).rows) == count


def test_equal_rows_count_once_and_zero_rows_not_at_all():
    rows = gaussian(1, 6, 9)
    rows /= rows.norm(dim=1, keepdim=True)
    rows[4], rows[2] = rows[1], 0.0
    found = proof(rows, torch.full((6,), 1e-12, dtype=torch.float64))
    assert len(found.rows) == 4
    assert nearest_dependence(rows[found.rows]) != 0
    assert found.proven
    assert found.error >= 2e-12


def test_rows_that_are_not_known_are_left_out():
    rows = torch.eye(5, dtype=torch.float64)
    found = proof(rows, doubles([1e-3, 2.0, 1e-3, float("nan"), 1e-3]))
    assert found.rows.sort().values.tolist() == [0, 2, 4]
    assert found.error < 0.01 < 0.9 < found.smallest <= 1.0


def test_rounding_of_the_gram_matrix_counts():
    # Σ d_j² = 1.28 may cancel a smallest eigenvalue of 1; 0.64 of one row may not.
    found = independent_rows(
        torch.eye(2).double(), doubles([0.8, 0.8]), torch.zeros(2, dtype=torch.float64)
    )
    assert len(found.rows) == 1
    assert 0.5 < found.smallest < (1 - 0.64) ** 0.5


def test_errors_that_add_up_end_the_order():
    # σ_min = 1 whatever the rows, at least 0.9 of its square is proven: k rows as long as
    # 0.09 k < 0.9, so 9, or 10 of them if all of it is; 1/‖L⁻¹‖_F alone would end at 3.
    found = proof(torch.eye(20).double(), torch.full((20,), 0.3, dtype=torch.float64))
    assert 9 <= len(found.rows) <= 11
    assert found.error**2 == pytest.approx(0.09 * len(found.rows))


def test_no_row_at_all():
    nothing = proof(torch.zeros(3, 4, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    assert len(nothing.rows) == 0
    assert (nothing.smallest, nothing.error) == (float("inf"), 0.0)
