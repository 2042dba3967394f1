"""φ and φ' in balls and rationals against 60-digit formulas and against torch's own slopes."""

import mpmath
import pytest
import torch
from flint import arb, ctx
from torch import nn

from igsref.exact.activations import PIECEWISE_LINEAR, SMOOTH
from igsref.exact.arithmetic import BALLS, RATIONALS
from tests.linalg.exact import fraction

DIGITS = 60
POINTS = (-40.0, -5.5, -1.0, -(2.0**-30), 0.0, 0.375, 1.0, 7.25, 40.0)


def normal_cdf(z):
    return mpmath.erfc(-z / mpmath.sqrt(2)) / 2


def logistic(z):
    return 1 / (1 + mpmath.exp(-z))


FORMULAS = {
    nn.Tanh: (mpmath.tanh, lambda z: mpmath.sech(z) ** 2),
    nn.Sigmoid: (logistic, lambda z: logistic(z) * logistic(-z)),
    nn.SiLU: (
        lambda z: z * logistic(z),
        lambda z: logistic(z) * (1 + z * logistic(-z)),
    ),
    nn.GELU: (
        lambda z: z * normal_cdf(z),
        lambda z: normal_cdf(z) + z * mpmath.npdf(z),
    ),
}


def assert_close(ball, number):
    """Up to 10^−DIGITS, relatively; the ball is narrower than that."""
    truth = arb(mpmath.nstr(number, DIGITS + 15))
    assert abs(ball - truth) <= abs(truth) * arb(10) ** -DIGITS
    assert ball.rad() <= abs(truth) * arb(10) ** -DIGITS


@pytest.mark.parametrize("kind", FORMULAS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("point", POINTS)
def test_smooth_activations_have_their_digits_in_the_tails_too(kind, point):
    with ctx.workprec(400), mpmath.workdps(DIGITS + 30):
        value, slope = SMOOTH[kind](kind(), BALLS, arb(point))
        for ball, formula in zip((value, slope), FORMULAS[kind], strict=True):
            assert_close(ball, formula(mpmath.mpf(point)))


@pytest.mark.parametrize("kind", FORMULAS, ids=lambda kind: kind.__name__)
def test_a_wide_ball_is_mapped_to_one_that_holds_all_its_images(kind):
    with ctx.workprec(200), mpmath.workdps(DIGITS):
        wide = arb(0.5, 0.25)
        value, slope = SMOOTH[kind](kind(), BALLS, wide)
        for point in (0.25, 0.4375, 0.75):
            for ball, formula in zip((value, slope), FORMULAS[kind], strict=True):
                assert ball.contains(arb(mpmath.nstr(formula(mpmath.mpf(point)), DIGITS)))


def test_every_smooth_activation_is_looked_at():
    assert set(FORMULAS) == set(SMOOTH)


@pytest.mark.parametrize("arithmetic", [RATIONALS, BALLS], ids=["rationals", "balls"])
@pytest.mark.parametrize(
    "module", [nn.ReLU(), nn.LeakyReLU(), nn.LeakyReLU(0.3), nn.LeakyReLU(2.0)]
)
def test_piecewise_linear_ones_and_their_slopes_are_torch_s_at_the_kink_too(module, arithmetic):
    points = torch.tensor([-1.5, -0.0, 0.0, 2.0**-1000, 3.0], dtype=torch.float64)
    points.requires_grad_(True)
    slopes = torch.autograd.grad(module(points).sum(), points)[0]
    function = PIECEWISE_LINEAR[type(module)]
    with ctx.workprec(200):  # products of two floats are exact
        for z, slope in zip(points.tolist(), slopes.tolist(), strict=True):
            value, found = function(module, arithmetic, arithmetic.number(z))
            assert found == arithmetic.number(slope)
            assert value == arithmetic.number(z) * arithmetic.number(slope)


def test_a_negative_slope_is_the_float_that_it_is():
    _, slope = PIECEWISE_LINEAR[nn.LeakyReLU](nn.LeakyReLU(0.01), RATIONALS, fraction(-1.0))
    assert slope == fraction(0.01)
    assert slope != fraction(1.0) / 100
