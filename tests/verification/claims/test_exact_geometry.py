"""Exact geometry: pseudo-inverses by the four Penrose conditions, IGS against the ball oracle."""

import random

import pytest
from flint import fmpq, fmpq_mat

from verification.claims import Disproved
from verification.claims.exact_geometry import (
    Pool,
    ceiling,
    centred_rows,
    diagonal,
    fisher,
    gradients,
    identity,
    igs,
    in_row_space,
    null_space,
    pseudo_inverse,
    random_invertible,
    random_matrix,
    random_pool,
    random_pools,
    rational,
    require_on_pools,
    stacked,
    trace,
)
from verification.oracle import logits_and_jacobian, truth

RANKS = [(4, 3, 2), (3, 5, 3), (4, 4, 1), (2, 2, 2)]


@pytest.mark.parametrize(("rows", "columns", "rank"), RANKS)
def test_pseudo_inverse_meets_the_penrose_conditions(rows: int, columns: int, rank: int) -> None:
    rng = random.Random(rows + columns)
    matrix = random_matrix(rng, rows, rank) * random_matrix(rng, rank, columns)
    inverse = pseudo_inverse(matrix)
    assert matrix * inverse * matrix == matrix
    assert inverse * matrix * inverse == inverse
    assert (matrix * inverse).transpose() == matrix * inverse
    assert (inverse * matrix).transpose() == inverse * matrix


def test_pseudo_inverse_of_zero_is_zero() -> None:
    assert pseudo_inverse(fmpq_mat(2, 3)) == fmpq_mat(3, 2)


def test_null_space_is_annihilated_and_complete() -> None:
    matrix = rational([[1, 2, 3], [2, 4, 6]])
    basis = null_space(matrix)
    assert matrix * basis == fmpq_mat(2, 2)
    assert basis.rank() == 2
    assert null_space(identity(3)) is None


def test_row_space_membership_is_decided() -> None:
    matrix = rational([[1, 0, 1], [0, 1, 1]])
    assert in_row_space(rational([[2, 3, 5]]), matrix)
    assert not in_row_space(rational([[2, 3, 4]]), matrix)


def test_fisher_matrix_is_the_gram_of_the_weighted_rows() -> None:
    pool = random_pool(random.Random(0))
    rows = centred_rows(pool)
    weights = diagonal([entry for p in pool.probabilities for entry in p])
    assert fisher(pool) * len(pool) == rows.transpose() * weights * rows


def test_igs_agrees_with_the_ball_oracle() -> None:
    """A linear layer of zeros has p = (⅓, ⅓, ⅓) exactly, at three inputs in two dimensions."""
    layers = [([[0.0, 0.0]] * 3, [0.0] * 3)]
    inputs, labels = [[1.0, 2.0], [-1.0, 0.5], [3.0, 1.0], [0.25, -2.0]], [0, 1, 2, 2]
    columns = [[int(c == k) for k in range(3)] for c in range(3)]
    jacobians = []
    for x in inputs:
        exact = [fmpq(*value.as_integer_ratio()) for value in x]
        jacobians.append(
            rational([[b * entry for b in unit for entry in exact] + unit for unit in columns])
        )
        balls = logits_and_jacobian(layers, "relu", x)[1]
        assert all(
            ball == entry
            for row, exact_row in zip(balls, jacobians[-1].tolist(), strict=True)
            for ball, entry in zip(row, exact_row, strict=True)
        )
    pool = Pool(tuple(jacobians), ((fmpq(1, 3),) * 3,) * len(inputs), tuple(labels))
    oracle = truth(layers, "relu", inputs, labels)
    assert oracle.value.contains(igs(pool))
    assert oracle.ceiling.contains(ceiling(pool))
    assert oracle.rank == fisher(pool).rank()
    assert igs(pool) < ceiling(pool)


def test_drawn_pools_are_the_same_for_the_same_seed_and_singular() -> None:
    first, second = random_pools(3, seed=4), random_pools(3, seed=4)
    for one, other in zip(first, second, strict=True):
        assert one == other
        assert fisher(one).rank() < one.jacobians[0].ncols()
        assert all(sum(p, fmpq(0)) == 1 and min(p) > 0 for p in one.probabilities)
        assert stacked(gradients(one)).nrows() == len(one)


def test_drawn_maps_are_invertible() -> None:
    rng = random.Random(2)
    assert all(random_invertible(rng, 2).det() != 0 for _ in range(50))


def test_a_property_must_hold_in_every_pool() -> None:
    pools = random_pools(3)
    require_on_pools(pools, lambda pool: trace(fisher(pool)) > 0, "F is not zero")
    with pytest.raises(Disproved, match="in pool 0"):
        require_on_pools(pools, lambda pool: pool is not pools[0], "nothing")


def test_pools_without_a_singular_fisher_matrix_are_refused() -> None:
    jacobian = rational([[1, 0], [0, 1], [0, 0]])
    pools = [Pool((jacobian,), ((fmpq(1, 3),) * 3,), (0,))]
    with pytest.raises(Disproved, match="singular"):
        require_on_pools(pools, lambda pool: True, "anything")
