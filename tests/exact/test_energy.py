"""Energies in balls from either side, against a projection over the rationals."""

import numpy as np
import pytest
import torch
from flint import arb, ctx, fmpq_mat
from hypothesis import given, settings
from hypothesis import strategies as st

from igsref.exact.arithmetic import BALLS, RATIONALS, Undecided
from igsref.exact.energy import blockwise, energy_beside_null, energy_in_range
from tests.linalg.exact import columns_of, energy, rational
from tests.strategies import SEEDS, gaussian

BITS = 300


def balls(matrix):
    values = [arb(x) for x in matrix.entries()]
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(matrix.nrows(), matrix.ncols())


def null_basis(spanning):
    """Rows W with W B = 0: −(B₂ B₁⁻¹) beside the identity, B₁ the first rows."""
    n, r = spanning.nrows(), spanning.ncols()
    entries = [[spanning[i, j] for j in range(r)] for i in range(n)]
    top, rest = fmpq_mat(entries[:r]), fmpq_mat(entries[r:])
    solved = rest * top.inv()
    rows = [
        [*(-x for x in row), *(int(i == j) for j in range(n - r))]
        for i, row in enumerate(solved.tolist())
    ]
    return fmpq_mat(n - r, n, [x for row in rows for x in row])


@settings(max_examples=20)
@given(seed=SEEDS, samples=st.integers(2, 3), height=st.integers(1, 2), data=st.data())
def test_both_sides_are_the_projection_of_the_whitened_vectors(seed, samples, height, data):
    n = samples * height
    r = data.draw(st.integers(1, n - 1))
    root = gaussian(seed, samples, height, height).tril() + 3 * torch.eye(height).double()
    D, u = rational(gaussian(seed + 1, n, r)), rational(gaussian(seed + 2, n, 2))
    L = rational(torch.block_diag(*root))
    metric = [rational(block) * rational(block).transpose() for block in root]
    with ctx.workprec(BITS):
        blocks = np.stack([balls(m) for m in metric])
        inverse = np.stack([balls(m.inv()) for m in metric])
        inside = energy_in_range(balls(D), blocks, balls(u))
        beside = energy_beside_null(balls(null_basis(D)), inverse, balls(u))
    for j in range(2):
        # A = LᵀD and v = L⁻¹u, by definition.
        truth = energy(L.transpose() * D, L.solve(columns_of(u, [j])))
        with ctx.workprec(4 * BITS):
            for found in (inside[j], beside[j]):
                assert found.contains(arb(truth))
                assert found.rad() <= abs(arb(truth)) * 2.0 ** (-BITS / 2)


def test_nothing_lies_in_a_range_of_rank_zero():
    u = BALLS.array(gaussian(0, 4, 3))
    metric = BALLS.array(torch.eye(2).double().repeat(2, 1, 1))
    assert all(e == 0 for e in energy_in_range(BALLS.zeros(4, 0), metric, u))


def test_everything_lies_in_the_whole_space():
    u = gaussian(0, 4, 3)
    metric = BALLS.array(2 * torch.eye(2).double().repeat(2, 1, 1))
    found = energy_beside_null(BALLS.zeros(0, 4), metric, BALLS.array(u))
    for ball, column in zip(found, rational(u).transpose().tolist(), strict=True):
        assert ball.contains(2 * sum(x * x for x in column))


def test_a_basis_that_is_none_is_left_undecided():
    basis = BALLS.array(torch.ones(4, 2).double()) / 3  # no exact zero in the elimination
    metric = BALLS.array(torch.eye(2).double().repeat(2, 1, 1))
    with pytest.raises(Undecided, match="not shown to be nonsingular"):
        energy_in_range(basis, metric, BALLS.array(gaussian(0, 4, 1)))


def test_blocks_act_on_their_own_rows():
    blocks, matrix = gaussian(0, 3, 2, 2), gaussian(1, 6, 2)
    found = blockwise(RATIONALS.array(blocks), RATIONALS.array(matrix))
    expected = rational(torch.block_diag(*blocks)) * rational(matrix)
    assert (found == np.array(expected.tolist(), dtype=object)).all()
