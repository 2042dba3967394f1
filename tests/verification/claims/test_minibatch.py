"""Kernels of mini-batches, exact semidefiniteness, epochs."""

import pytest
from flint import fmpq

from verification.claims.exact_geometry import (
    Pool,
    identity,
    igs,
    random_pools,
    rational,
    whitened_gram,
)
from verification.claims.minibatch import (
    brute_force,
    epochs,
    full_batch_kernel,
    is_positive_semidefinite,
    kernel,
    paired,
    single_gradient_pool,
)
from verification.oracle import batches_with_replacement


def test_kernel_of_one_batch_with_a_repeated_index() -> None:
    assert kernel([(0, 0, 1)], 2) == rational([[fmpq(4, 9), fmpq(2, 9)], [fmpq(2, 9), fmpq(1, 9)]])


def test_kernel_paired_with_the_gram_is_the_brute_force_mean() -> None:
    pool = random_pools(1)[0]
    weights = kernel(batches_with_replacement(len(pool), 2), len(pool))
    assert paired(weights, whitened_gram(pool)) == brute_force(pool, 2, batches_with_replacement)


def test_full_batch_kernel_is_the_form_of_the_mean_gradient() -> None:
    pool = random_pools(1)[0]
    gram = whitened_gram(pool).tolist()
    mean = sum((entry for row in gram for entry in row), fmpq(0)) / len(pool) ** 2
    assert paired(full_batch_kernel(len(pool)), whitened_gram(pool)) == mean


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 0], [0, 0]], True),
        ([[1, 1], [1, 1]], True),
        ([[0, 0], [0, 3]], True),
        ([[1, 2], [2, 1]], False),
        ([[0, 1], [1, 5]], False),
        ([[-1, 0], [0, 1]], False),
        ([[2, -1, -1], [-1, 2, -1], [-1, -1, 2]], True),
        ([[2, -1, -1], [-1, 2, -1], [-1, -1, 1]], False),
    ],
)
def test_semidefiniteness_is_decided(rows: list[list[int]], expected: bool) -> None:
    assert is_positive_semidefinite(rational(rows)) is expected


def test_epochs_visit_every_sample_once_or_drop_the_rest() -> None:
    listed = epochs(3, 2)
    assert len(listed) == 6
    assert all(sorted(i for batch in epoch for i in batch) == [0, 1, 2] for epoch in listed)
    assert all(len(epoch) == 1 and len(epoch[0]) == 2 for epoch in epochs(3, 2, drop_last=True))


def test_single_gradient_has_form_one() -> None:
    pool: Pool = single_gradient_pool(4)
    assert whitened_gram(pool)[0, 0] == 1
    assert igs(pool) == fmpq(1, 4)
    assert whitened_gram(pool) != identity(4)
