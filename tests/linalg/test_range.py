"""Bases and projectors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from igsref.linalg.range import (
    Space,
    Subspace,
    WholeSpace,
    full_rank_margin,
    graded_qr,
    invert_triangle,
    lower_triangle,
    pivoted_basis,
)
from tests.strategies import SEEDS, gaussian

EPS = 2.0**-52


def subspace(seed: int, rows: int, rank: int, *, error: float = 1e-14) -> Subspace:
    matrix = gaussian(seed, rows, rank)
    basis, triangle, _ = graded_qr(matrix)
    ones = torch.ones(rows, dtype=torch.float64)
    return Subspace(basis, triangle, torch.full((rank,), error, dtype=torch.float64), ones)


def dense_projector(space: Subspace) -> torch.Tensor:
    return space.basis @ space.basis.mT


def test_both_spaces_show_the_same_face():
    assert isinstance(WholeSpace(4), Space)
    assert isinstance(subspace(0, 4, 2), Space)


@given(seed=SEEDS, rank=st.integers(0, 6))
def test_energy_is_that_of_the_projected_vectors(seed, rank):
    space = subspace(seed, 6, rank)
    vectors = gaussian(seed + 1, 6, 3)
    expected = (dense_projector(space) @ vectors).square().sum(dim=0)
    torch.testing.assert_close(space.energy(vectors), expected, rtol=64 * EPS, atol=64 * EPS)


@given(seed=SEEDS, rank=st.integers(0, 6))
def test_block_energy_is_the_energy_of_the_embedded_block(seed, rank):
    space = subspace(seed, 6, rank)
    blocks = gaussian(seed + 1, 3, 2)
    embedded = torch.block_diag(*blocks).mT.reshape(6, 3)
    torch.testing.assert_close(
        space.block_energy(blocks), space.energy(embedded), rtol=64 * EPS, atol=64 * EPS
    )


def test_whole_space_keeps_everything():
    blocks = gaussian(0, 3, 2)
    assert torch.equal(WholeSpace(6).block_energy(blocks), blocks.square().sum(dim=1))
    assert float(WholeSpace(6).block_rounding(blocks)[1].sum()) == 0.0


@settings(max_examples=40)
@given(seed=SEEDS, size=st.floats(1e-12, 1e-4))
def test_block_rounding_covers_a_perturbation_of_the_matrix(seed, size):
    matrix, blocks = gaussian(seed, 8, 4), gaussian(seed + 1, 4, 2)
    basis, triangle, pivots = graded_qr(matrix)
    ones = torch.ones(8, dtype=torch.float64)
    space = Subspace(basis, triangle, size * torch.ones(4, dtype=torch.float64)[pivots], ones)
    signs = size * gaussian(seed + 2, 8, 4).sign()
    moved = Subspace(*graded_qr(matrix + signs)[:2], torch.zeros(4).double(), ones)
    smaller, larger = space.block_rounding(blocks)
    change = moved.block_energy(blocks).sum() - space.block_energy(blocks).sum()
    rounding = 64 * EPS * float(blocks.square().sum())
    assert -float(smaller.sum()) - rounding <= float(change) <= float(larger.sum()) + rounding


def test_unknown_directions_leave_the_energy_open_upwards():
    smaller, larger = subspace(3, 6, 4, error=10.0).block_rounding(gaussian(4, 3, 2))
    assert bool(torch.isinf(larger).all())
    torch.testing.assert_close(smaller, subspace(3, 6, 4).block_energy(gaussian(4, 3, 2)))


@given(seed=SEEDS, exponents=st.lists(st.integers(-150, 150), min_size=4, max_size=4))
def test_lower_triangle_keeps_the_rows_whatever_their_size(seed, exponents):
    scale = 2.0 ** torch.tensor(exponents, dtype=torch.float64)
    matrix = gaussian(seed, 4, 9)
    triangle = lower_triangle(matrix * scale[:, None]) / scale[:, None]
    gram = matrix @ matrix.mT
    assert torch.equal(triangle, triangle.tril())
    size = gram.diagonal().sqrt()
    assert float(((triangle @ triangle.mT - gram) / size / size[:, None]).abs().max()) < 100 * EPS


def test_graded_qr_finds_a_small_row_beside_a_large_one():
    matrix = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1e-20, -1e-20]], dtype=torch.float64)
    basis, triangle, pivots = graded_qr(matrix)
    torch.testing.assert_close(basis @ triangle, matrix[:, pivots], rtol=1e-14, atol=1e-36)
    assert abs(float(basis[2, 1])) == pytest.approx(1.0, abs=1e-14)


def test_pivoted_basis_orders_directions_by_size():
    matrix = torch.diag(torch.tensor([1e-3, 5.0, 1.0], dtype=torch.float64))
    basis, size = pivoted_basis(matrix)
    assert size.tolist() == [5.0, 1.0, 1e-3]
    assert basis.abs().argmax(dim=0).tolist() == [1, 2, 0]


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
    triangle = torch.tensor([[1.0, 0.0], [1.0, 1e-3]]).double()
    assert full_rank_margin(triangle, error) <= 1
    assert full_rank_margin(torch.tensor([[1.0, 0.0], [1.0, 0.0]]).double(), 1e-3) == 0.0


@pytest.mark.parametrize("upper", [False, True])
def test_the_inverse_of_a_triangle(upper):
    triangle = torch.tensor([[2.0, 0.0], [3.0, 4.0]]).double()
    triangle = triangle.mT if upper else triangle
    inverse = invert_triangle(triangle, upper=upper)
    assert torch.equal(inverse @ triangle, torch.eye(2).double())
    assert invert_triangle(triangle[:0, :0], upper=upper).shape == (0, 0)
