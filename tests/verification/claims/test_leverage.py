"""Leverages from the complement of the range, against the projector itself."""

from flint import fmpq

from verification.claims.exact_geometry import (
    centred_rows,
    diagonal,
    fisher,
    pseudo_inverse,
    random_pools,
)
from verification.claims.leverage import duplicated, label_rows, leverages


def test_leverages_are_the_diagonal_of_the_projector() -> None:
    """h = p_c B_c (BᵀWB)⁺ B_cᵀ, W = diag(p)."""
    for pool in random_pools(5):
        rows = centred_rows(pool)
        p = [entry for probabilities in pool.probabilities for entry in probabilities]
        inverse = pseudo_inverse(rows.transpose() * diagonal(p) * rows)
        hat = rows * inverse * rows.transpose()
        expected = [p_c * hat[c, c] for c, p_c in enumerate(p)]
        assert [h for sample in leverages(pool) for h in sample] == expected
        assert sum(expected, fmpq(0)) == fisher(pool).rank()


def test_label_rows_are_orthogonal_to_the_probabilities() -> None:
    pool = random_pools(1)[0]
    p = [entry for probabilities in pool.probabilities for entry in probabilities]
    for i, row in enumerate(label_rows(pool)):
        entries = row.entries()
        assert sum((q * x for q, x in zip(p, entries, strict=True)), fmpq(0)) == 0
        p_y = pool.probabilities[i][pool.labels[i]]
        length = sum((q * x * x for q, x in zip(p, entries, strict=True)), fmpq(0))
        assert length == (1 - p_y) / p_y


def test_duplicates_share_the_input_only() -> None:
    pool = random_pools(1)[0]
    many = duplicated(pool, 3, seed=0)
    assert len(many) == len(pool) + 2
    assert many.jacobians[0] == many.jacobians[1] == pool.jacobians[0]
    assert many.labels[2:] == pool.labels
