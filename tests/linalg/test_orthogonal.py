"""Factorisations: what they multiply back to, and what their triangles tell."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from igsref.linalg.orthogonal import (
    append_columns,
    full_rank_margin,
    graded_qr,
    invert_triangle,
    lower_triangle,
    pivoted_qr,
)
from tests.closeness import EPS, assert_within
from tests.linalg.exact import doubles
from tests.strategies import SEEDS, gaussian

SIDE = st.integers(0, 6)


def assert_gram(triangle, gram):
    """L Lᵀ to a multiple of eps of the norms of its two rows: n m of it is generous."""
    size = gram.diagonal().sqrt()
    assert_within(triangle @ triangle.mT, gram, 100 * EPS * size * size[:, None])


@given(seed=SEEDS, exponents=st.lists(st.integers(-150, 150), min_size=4, max_size=4))
def test_lower_triangle_keeps_the_rows_whatever_their_size(seed, exponents):
    scale = 2.0 ** doubles(exponents)
    matrix = gaussian(seed, 4, 9)
    triangle = lower_triangle(matrix * scale[:, None]) / scale[:, None]
    assert torch.equal(triangle, triangle.tril())
    assert_gram(triangle, matrix @ matrix.mT)


@given(seed=SEEDS, widths=st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_appended_columns_give_the_triangle_of_all_side_by_side(seed, widths):
    parts = [gaussian(seed + i, 4, width) for i, width in enumerate(widths)]
    triangle = None
    for part in parts:
        triangle = append_columns(triangle, part)
        assert torch.equal(triangle, triangle.tril())
    together = torch.cat(parts, dim=1)
    assert_gram(triangle, together @ together.mT)


@given(seed=SEEDS, rows=SIDE, columns=SIDE)
def test_pivoted_factors_multiply_back_to_the_columns_in_their_order(seed, rows, columns):
    matrix = gaussian(seed, rows, columns)
    basis, triangle, pivots = pivoted_qr(matrix)
    assert basis.shape == (rows, min(rows, columns))
    assert sorted(pivots.tolist()) == list(range(columns))
    # Column by column (Higham, Theorem 19.4): a small multiple of n eps of their norms.
    size = matrix[:, pivots].norm(dim=0).expand(rows, columns)
    assert_within(basis @ triangle, matrix[:, pivots], 100 * EPS * size)
    assert torch.equal(triangle, triangle.triu())
    unit = torch.eye(len(triangle), dtype=torch.float64)
    assert_within(basis.mT @ basis, unit, 100 * EPS)


@given(seed=SEEDS, rows=SIDE, columns=SIDE)
def test_pivoted_directions_fall(seed, rows, columns):
    size = pivoted_qr(gaussian(seed, rows, columns))[1].diagonal().abs()
    assert bool((size[1:] <= size[:-1] * (1 + 100 * EPS)).all())


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 4)])
def test_pivots_order_columns_by_size(shape):
    matrix = torch.zeros(shape, dtype=torch.float64)
    matrix[:3, :3] = torch.diag(doubles([1e-3, 5.0, 1.0]))
    basis, triangle, pivots = pivoted_qr(matrix)
    assert pivots[:3].tolist() == [1, 2, 0]
    assert triangle.diagonal().abs().tolist() == [5.0, 1.0, 1e-3]
    assert basis.abs().argmax(dim=0).tolist() == [1, 2, 0]


@given(seed=SEEDS, exponents=st.lists(st.integers(-150, 150), min_size=6, max_size=6))
def test_graded_factors_keep_the_digits_of_every_row(seed, exponents):
    scale = 2.0 ** doubles(exponents)[:, None]
    matrix = gaussian(seed, 6, 3) * scale
    basis, triangle, pivots = graded_qr(matrix)
    size = matrix.norm(dim=1, keepdim=True).expand(6, 3)
    assert_within(basis @ triangle, matrix[:, pivots], 1000 * EPS * size)
    assert_within(basis.mT @ basis, torch.eye(3, dtype=torch.float64), 100 * EPS)
    assert torch.equal(triangle, triangle.triu())


def test_graded_qr_finds_a_small_row_beside_a_large_one():
    matrix = doubles([[1.0, 1.0], [1.0, 1.0], [1e-20, -1e-20]])
    basis, triangle, pivots = graded_qr(matrix)
    torch.testing.assert_close(basis @ triangle, matrix[:, pivots], rtol=1e-14, atol=1e-36)
    assert abs(float(basis[2, 1])) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("factor", [torch.linalg.qr, lambda matrix: graded_qr(matrix)[:2]])
def test_only_sorted_rows_keep_a_small_row_above_large_ones(factor):
    matrix = doubles([[1e-20, -1e-20], [1.0, 1.0], [1.0, 2.0]])
    basis, triangle = factor(matrix)
    kept = abs(float((basis @ triangle)[0].norm()) / 2**0.5 / 1e-20 - 1) < 1e-14
    assert kept == (factor is not torch.linalg.qr)


def test_nothing_has_graded_factors_without_columns():
    basis, triangle, pivots = graded_qr(torch.empty(3, 0, dtype=torch.float64))
    assert [tuple(t.shape) for t in (basis, triangle, pivots)] == [(3, 0), (0, 0), (0,)]


@given(seed=SEEDS)
def test_the_margin_bounds_the_smallest_singular_value(seed):
    triangle = gaussian(seed, 5, 5).tril()
    smallest = float(torch.linalg.svdvals(triangle)[-1])
    error = 0.1 * smallest
    margin = full_rank_margin(triangle, error)
    assert 0 < margin <= 10 * (1 + 1e-9)
    assert margin >= 10 / 5**0.5 * (1 - 1e-9)  # ‖L⁻¹‖_F ≤ √n ‖L⁻¹‖₂


@pytest.mark.parametrize("error", [0.0, 1e-3, 2.0])
def test_a_triangle_not_above_its_error_shows_no_full_rank(error):
    triangle = doubles([[1.0, 0.0], [1.0, 1e-3]])
    assert full_rank_margin(triangle, error) <= 1
    assert full_rank_margin(doubles([[1.0, 0.0], [1.0, 0.0]]), 1e-3) == 0.0


@pytest.mark.parametrize("upper", [False, True])
def test_the_inverse_of_a_triangle(upper):
    triangle = doubles([[2.0, 0.0], [3.0, 4.0]])
    triangle = triangle.mT if upper else triangle
    inverse = invert_triangle(triangle, upper=upper)
    assert torch.equal(inverse @ triangle, torch.eye(2).double())
    assert invert_triangle(triangle[:0, :0], upper=upper).shape == (0, 0)
