"""s (s + b)^{2a} = σ, over wide ranges and against long arithmetic."""

import math

import mpmath
import pytest
import torch
from torch.func import grad

from igsref.transforms.bijections.power_root import (
    log_largest,
    squared_length,
    squared_length_by_newton,
    turning_point,
)
from tests.closeness import EPS, assert_within

EXPONENTS = [-3.0, -1.0, -0.8, -0.501, -0.499, -0.25, -0.01, 0.3, 0.5, 1.0, 2.0, 4.0]
CLOSED = [0.0, 0.5, -0.5, -1.0]


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def allowance(s, a, b):
    """κ times what σ and the residual are rounded by: powers of s + b, and a few products."""
    condition = abs((s + b) / (b + (1 + 2 * a) * s))
    # Each power turns 1.5 eps of its base into |2a| times as much, and adds an eps; b and 1+2a are
    # rounded too, which κ again amplifies near the turning point.
    return EPS * condition * (2 * (3 * abs(a) + 4)) * s


@pytest.mark.parametrize("solve", [squared_length, squared_length_by_newton])
@pytest.mark.parametrize("a", EXPONENTS)
def test_the_root_is_found_to_the_last_bits(a, solve):
    """Over forty orders of magnitude of s/b, at twenty of b."""
    for b in (1.7e-11, 2.9e-3, 1.0, 1.3e9):
        s = b * 10.0 ** torch.linspace(-20, 20, 61, dtype=torch.float64)
        s = s[s < 0.999 * turning_point(a, b)]
        sigma = [float(mpmath.mpf(x) * (mpmath.mpf(x) + b) ** (2 * a)) for x in s.tolist()]
        # σ is rounded to nearest; the rest is what the closed form or Newton's residual rounds.
        assert_within(solve(torch.tensor(sigma, dtype=torch.float64), a, b), s, allowance(s, a, b))


def test_a_near_minus_a_half_is_no_harder_than_its_condition():
    for a in (-0.5 + 1e-9, -0.5 - 1e-9):
        for s in (1e-6, 1.0, 1e6):
            sigma = s * (mpmath.mpf(s) + 1) ** (2 * mpmath.mpf(a))
            found = squared_length(number(float(sigma)), a, 1.0)
            assert abs(float(found) - s) <= allowance(s, a, 1.0)


@pytest.mark.parametrize("a", [-1.0, -0.7, -3.0])
@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-5])
def test_near_the_turning_point_the_lower_root_is_found(a, gap):
    s = (1 - gap) * turning_point(a, 2.0)
    sigma = mpmath.mpf(s) * (mpmath.mpf(s) + 2) ** (2 * mpmath.mpf(a))
    for solve in (squared_length, squared_length_by_newton):
        found = float(solve(number(float(sigma)), a, 2.0))
        assert abs(found - s) <= allowance(s, a, 2.0)


def test_without_softening_it_is_a_power():
    assert_within(squared_length(number(32.0), 2.0, 0.0), number(2.0), 4 * EPS)


@pytest.mark.parametrize("a", CLOSED + EXPONENTS)
def test_zero_is_the_root_of_zero(a):
    assert float(squared_length(number(0.0), a, 2.0)) == 0


@pytest.mark.parametrize("a", [-0.5, -0.7, -1.0, -2.0])
def test_beyond_the_largest_image_there_is_no_root(a):
    largest = math.exp(log_largest(a, 2.0))
    assert math.isnan(float(squared_length(number(1.001 * largest), a, 2.0)))
    assert not math.isnan(float(squared_length(number(0.999 * largest), a, 2.0)))


def test_the_largest_image_is_that_of_the_turning_point():
    s = turning_point(-1.0, 3.0)
    assert s == 3.0
    assert log_largest(-1.0, 3.0) == pytest.approx(math.log(s / (s + 3) ** 2), rel=4 * EPS)
    assert log_largest(0.3, 1.0) == turning_point(-0.5, 1.0) == math.inf


def exact_derivative(s: float, a: float, b: float, order: int) -> float:
    """d^n s/dσ^n by differences in 80 digits of the root found there."""
    with mpmath.workdps(80):
        sigma = mpmath.mpf(s) * (mpmath.mpf(s) + b) ** (2 * mpmath.mpf(a))

        def root(value):
            return mpmath.findroot(lambda x: x * (x + b) ** (2 * mpmath.mpf(a)) - value, s)

        return float(mpmath.diff(root, sigma, order, h=mpmath.mpf(10) ** -20))


@pytest.mark.parametrize("a", [-0.8, -0.5, -0.25, 0.5, 1.0, 2.3])
@pytest.mark.parametrize("s", [0.01, 0.7])
def test_three_derivatives_are_right(a, s):
    b = 2.0
    sigma = number(s * (s + b) ** (2 * a))
    function = lambda x: squared_length(x, a, b)  # noqa: E731
    for order in (1, 2, 3):
        function = grad(function)
        # A relative error of a few eps times the condition grows by about as much an order.
        rounding = 1e3 * 4.0**order * EPS * (s + b) / (b + (1 + 2 * a) * s)
        expected = exact_derivative(s, a, b, order)
        assert abs(float(function(sigma)) - expected) <= rounding * max(1, abs(expected))


@pytest.mark.parametrize("a", [-0.8, -0.25, 1.0, 2.3])
def test_derivatives_at_zero_are_those_of_the_series(a):
    """s = τ − 2a τ² + … for b = 1."""
    first = grad(lambda x: squared_length(x, a, 1.0))
    assert float(first(number(0.0))) == pytest.approx(1, rel=8 * EPS)
    assert float(grad(first)(number(0.0))) == pytest.approx(-4 * a, rel=64 * EPS)
