"""Bounds on rounding, over the rationals."""

from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from igsref.linalg.rounding import UNIT, Gram, gamma, measured_product, product_rounding
from tests.linalg.exact import entries, fraction, identity, rational, square
from tests.strategies import SEEDS, gaussian

INNER = st.one_of(st.integers(0, 5), st.sampled_from([63, 64, 65, 128, 200]))
SIDE = st.integers(0, 3)
POWERS = st.integers(-200, 200)


@given(count=st.integers(0, 10**6))
def test_gamma_covers_that_many_roundings_up_and_down(count):
    u, covered = Fraction(UNIT), Fraction(gamma(count))
    # (1 + u)^n ≤ 1/(1 − n u) and (1 − u)^−n ≤ 1/(1 − n u), which γ_n exceeds 1 by: but for the
    # rounding of γ itself, less than 3 u of it.
    assert covered * (1 + 3 * u) >= 1 / (1 - count * u) - 1
    assert covered <= (1 / (1 - count * u) - 1) * (1 + 3 * u)


def assert_covered(left, right):
    """|computed − exact| ≤ γ |left||right|, entry by entry."""
    product = rational(measured_product(left, right))
    error = entries(product - rational(left) * rational(right))
    size = entries(rational(left.abs()) * rational(right.abs()))
    allowed = fraction(product_rounding(left.shape[1]))
    for gaps, sizes in zip(error, size, strict=True):
        assert all(abs(gap) <= allowed * s for gap, s in zip(gaps, sizes, strict=True))


@settings(max_examples=80)
@given(seed=SEEDS, n=SIDE, inner=INNER, q=SIDE, scale=st.lists(POWERS, min_size=5, max_size=5))
def test_a_measured_product_is_as_good_as_it_says(seed, n, inner, q, scale):
    # Columns of the left and rows of the right by different powers, so that no entry is typical.
    powers = 2.0 ** torch.tensor((scale * 40)[:inner], dtype=torch.float64)
    left, right = gaussian(seed, n, inner) * powers, gaussian(seed + 1, inner, q)
    assert_covered(left, right * powers.flip(0)[:, None])


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("q", [1, 2, 5])
@pytest.mark.parametrize("inner", [130, 1000, 4200])
def test_terms_that_one_running_sum_would_lose_are_not_lost(n, inner, q):
    # 1 + u rounds to 1: summed one after another, all that follows the 1 is lost.
    left = torch.full((n, inner), UNIT, dtype=torch.float64)
    left[:, 0] = 1.0
    right = torch.ones(inner, q, dtype=torch.float64)
    lost = (inner - 1) * UNIT
    assert product_rounding(inner) < lost
    assert_covered(left, right)


@pytest.mark.parametrize("inner", [0, 1, 5, 64, 65, 4096, 4097, 10**6])
def test_the_bound_of_a_product_grows_like_the_root_of_its_inner_size(inner):
    # An entry takes part in min(k, 64) roundings in its block, and in one a block.
    block = max(64, int(inner**0.5))
    assert product_rounding(inner) >= gamma(min(inner, block) + inner // block)
    assert product_rounding(inner) <= gamma(66 + 2 * int(inner**0.5))


def test_a_product_over_nothing_is_zero():
    nothing = torch.empty(2, 0, dtype=torch.float64)
    assert torch.equal(measured_product(nothing, nothing.mT), torch.zeros(2, 2).double())


def skewness(*parts: torch.Tensor) -> float:
    gram = Gram(parts[0].shape[1], parts[0])
    for part in parts:
        gram.add(part)
    return gram.skew()


@settings(max_examples=60)
@given(
    seed=SEEDS,
    rows=st.sampled_from([1, 2, 7, 70]),
    columns=st.integers(0, 4),
    size=st.sampled_from([0.0, 1e-16, 1e-8, 0.3, 10.0]),
)
@example(seed=0, rows=70, columns=1, size=0.0)
def test_the_skewness_bounds_how_far_a_basis_is_from_orthonormal(seed, rows, columns, size):
    basis = torch.linalg.qr(gaussian(seed, rows, columns)).Q
    basis = basis + size * gaussian(seed + 1, *basis.shape)
    q = rational(basis)
    skew = square(q.transpose() * q - identity(basis.shape[1]))
    for parts in ([basis], basis.split(3)):
        bound = fraction(skewness(*parts))
        assert skew <= bound * bound


def test_an_orthonormal_basis_is_hardly_skew():
    assert skewness(torch.eye(5, 3, dtype=torch.float64)) <= 3 * gamma(12)
