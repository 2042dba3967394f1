"""Pools with one logit and the hidden ReLU unit."""

import pytest
from flint import fmpq

from verification.claims import Disproved
from verification.claims.exact_geometry import fisher, gradients, igs, rational
from verification.claims.proposition import one_logit_pool, relu, relu_pool


def test_one_logit_pool_has_even_odds() -> None:
    """F = ¼ (1/N) Σ dᵀd and g = −d/2 for class 2."""
    pool = one_logit_pool([[1, 2], [0, 4]])
    assert fisher(pool) == rational([[fmpq(1, 8), fmpq(1, 4)], [fmpq(1, 4), fmpq(5, 2)]])
    assert gradients(pool)[1] == rational([[0, -2]])
    assert igs(pool) == 2


def test_relu_and_its_derivatives() -> None:
    assert [relu(fmpq(x)) for x in (-2, 0, 3)] == [0, 0, 3]
    pool = relu_pool([2, -1], [0, 5])
    assert pool.jacobians[0].tolist()[1] == [0, 0, 2, 0]


def test_relu_pool_refuses_a_logit_off_zero() -> None:
    with pytest.raises(Disproved, match="f = 0"):
        relu_pool([1], [1])
