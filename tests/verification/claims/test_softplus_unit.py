"""The rational formulas of the softplus unit against derivatives of its loss by power series."""

import pytest
from flint import arb, arb_series, ctx, fmpq

from verification.claims.softplus_unit import Input, SoftplusUnit

BITS = 200


def loss(unit: SoftplusUnit, ones: list[fmpq]) -> arb_series:
    """Mean loss at θ = log 2 + t up to t²; ones: the share of labels 1 of each input."""
    theta = arb_series([arb(2).log(), arb(1)])
    total = arb_series([arb(0)])
    for given, share in zip(unit.inputs, ones, strict=True):
        f = ((theta * given.x).exp() + 1).log()
        total = total + ((f.exp() + 1).log() - f * arb(share)) / len(ones)
    return total


@pytest.mark.parametrize("ones", [(9, 9), (9, 2), (10, 0)])
def test_gradient_and_hessian_are_the_derivatives_of_the_loss(ones):
    shares = [fmpq(count, 10) for count in ones]
    unit = SoftplusUnit(tuple(Input(x, q) for x, q in zip((1, -1), shares, strict=True)))
    with ctx.workprec(BITS):
        series = loss(unit, shares)
        for coefficient, exact in ((series[1], unit.gradient()), (2 * series[2], unit.hessian())):
            assert coefficient.contains(exact)
            assert coefficient.rad() < arb(2) ** (20 - BITS)


def test_covariance_is_the_second_moment_of_the_gradient():
    for given in (Input(1, fmpq(9, 10)), Input(-1, fmpq(1, 3))):
        with_label = [SoftplusUnit((Input(given.x, fmpq(label)),)).gradient() for label in (0, 1)]
        mean = (1 - given.ones) * with_label[0] ** 2 + given.ones * with_label[1] ** 2
        assert SoftplusUnit((given,)).covariance() == mean


def test_fisher_is_the_covariance_of_labels_from_the_model():
    true = Input(2, Input(2, fmpq(0)).probability)
    assert SoftplusUnit((true,)).covariance() == SoftplusUnit((true,)).fisher()
