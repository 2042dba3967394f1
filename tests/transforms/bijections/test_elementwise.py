"""Smooth maps of each parameter, over wide ranges against long arithmetic."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from igsref.transforms.bijections import Cubic, Sinh, Softplus
from tests.closeness import EPS, assert_within


def vector(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


@given(size=st.floats(-40, 40).filter(lambda e: abs(e) > 1), log_slope=st.floats(-8, 8))
def test_the_root_of_the_cubic_is_found_to_the_last_bits(size, log_slope):
    theta, c = 10.0 ** (abs(size) - 20) * (1 if size > 0 else -1), 10.0**log_slope
    back = Cubic(c).inverse(Cubic(c).forward(vector(theta)))
    # κ ≤ 1 of the way back; three operations there, seven in the residual.
    assert_within(back, vector(theta), 16 * EPS * abs(theta))


@given(eta=st.floats(-700, 700))
def test_softplus_is_not_cut_off(eta):
    found = float(Softplus().inverse(vector(eta)))
    with mpmath.workdps(50):
        expected = float(mpmath.log1p(mpmath.exp(eta)))
    assert abs(found - expected) <= 4 * EPS * expected


@pytest.mark.parametrize("eta", [-30.0, 0.3, 25.0])
def test_derivatives_of_softplus_are_not_cut_off(eta):
    function = lambda x: Softplus().inverse(x[None])[0]  # noqa: E731
    with mpmath.workdps(50):
        for order in (1, 2, 3):
            function = torch.func.grad(function)
            expected = float(mpmath.diff(lambda x: mpmath.log1p(mpmath.exp(x)), eta, order))
            found = float(function(torch.tensor(eta, dtype=torch.float64)))
            # e^|η| − 1 = e^|η| to eps; the third derivative cancels down to e^{−|η|}.
            assert abs(found - expected) <= 64 * EPS * max(
                abs(expected), abs(mpmath.exp(-abs(eta)))
            )


@given(theta=st.floats(1e-300, 700))
def test_softplus_goes_there_and_back_in_proportion(theta):
    eta = Softplus().forward(vector(theta))
    # η = log θ where θ is small: θ = e^η feels an eps of η |η| times, twice.
    allowed = 4 * EPS * (2 + abs(float(eta)))
    assert_within(Softplus().inverse(eta), vector(theta), allowed * theta)


@pytest.mark.parametrize("slope", [0.0, -1.0, float("inf"), float("nan")])
def test_a_cubic_that_is_no_diffeomorphism_is_refused(slope):
    with pytest.raises(ValueError, match="slope must be positive and finite"):
        Cubic(slope)


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (Softplus().check, 0.0, r"take invert\(Softplus\(\)\)\); theta\[0\] is 0\.0"),
        (Softplus().check, -1.0, "theta must be positive"),
        (Softplus().check_image, -740.0, "eta must be large enough"),
        (Sinh().check, 711.0, "theta must be within what sinh takes"),
        (Cubic(1.0).check, 1e110, "theta must be small enough for its cube"),
        (Cubic(1e-200).check_image, 1e100, "eta must be small enough"),
    ],
)
def test_what_is_outside_of_the_domain_is_refused(check, value, message):
    with pytest.raises(ValueError, match=message):
        check(vector(value))


def test_log_abs_det_of_sinh_does_not_overflow():
    assert float(Sinh().log_abs_det(vector(-700.0))) == pytest.approx(700 - mpmath.log(2))
