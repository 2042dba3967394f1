"""Power maps: formulas by hand, wide ranges, and what is refused with which reason."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from igsref.transforms.bijections import ElementwisePower, RadialPower
from tests.closeness import EPS, assert_within
from tests.strategies import gaussian

ZERO = torch.zeros(3).double()
THETA = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64)
POWERS = [RadialPower, ElementwisePower]


def test_radial_power_takes_the_norm_of_the_vector():
    assert torch.equal(RadialPower(0.5, 7.0, ZERO).forward(THETA), 4 * THETA)


def test_elementwise_power_takes_each_entry_alone():
    expected = torch.tensor([2.0, -10.0, 10.0], dtype=torch.float64)
    assert torch.equal(ElementwisePower(1.0, 1.0, ZERO).forward(THETA), expected)


@pytest.mark.parametrize("power", POWERS)
def test_about_theta_itself_it_is_the_number_b_to_the_a(power):
    """What the authors' code does: θ̂ = θ, so that Φ = b^a I."""
    bijection = power(-0.5, 4.0, THETA, THETA)
    assert torch.equal(bijection.forward(THETA), THETA)
    assert torch.equal(bijection.inverse(THETA), THETA)
    assert torch.equal(bijection.jacobian(THETA), 0.5 * torch.eye(3).double())
    back = torch.func.jacrev(bijection.inverse)(THETA)
    assert_within(back, 2 * torch.eye(3).double(), 8 * EPS)


@pytest.mark.parametrize("power", POWERS)
@given(
    a=st.sampled_from([-0.49, -0.25, 0.0, 0.3, 0.5, 1.0, 2.0]),
    log_b=st.floats(-12, 12),
    log_ratio=st.floats(-20, 20),
)
def test_there_and_back_over_forty_orders_of_magnitude(power, a, log_b, log_ratio):
    b = 10.0**log_b
    theta = (b * 10.0**log_ratio) ** 0.5 * gaussian(0, 4)
    bijection = power(a, b, torch.zeros(4).double())
    bijection.check(theta)
    back = bijection.inverse(bijection.forward(theta))
    # κ ≤ max(1+2a, 1/(1+2a)); σ, the residual and both powers round as in test_power_root, and
    # (s + b)^{−a} takes |a| of the error of s.
    condition = max(1 + 2 * a, 1 / (1 + 2 * a))
    allowed = EPS * (2 * (3 * abs(a) + 4) + 4) * condition * (1 + abs(a))
    # Entries of a radial map share one factor; those of the other have one each.
    assert_within(back, theta, allowed * theta.abs())


def elementwise_inverse(a: float, b: float, eta, theta: float):
    """The way back in long arithmetic."""
    equation = lambda x: (x * x + b) ** mpmath.mpf(a) * x - eta  # noqa: E731
    return mpmath.findroot(equation, theta)


@pytest.mark.parametrize(("a", "b"), [(-0.8, 20.0), (-0.25, 0.5), (0.5, 1.0), (1.3, 0.2)])
@pytest.mark.parametrize("theta", [0.3, -1.5])
def test_three_derivatives_of_the_way_back_against_long_arithmetic(a, b, theta):
    bijection = ElementwisePower(a, b, torch.zeros(1).double())
    function = lambda eta: bijection.inverse(eta[None])[0]  # noqa: E731
    with mpmath.workdps(80):
        exact = (mpmath.mpf(theta) ** 2 + b) ** mpmath.mpf(a) * theta
        eta = torch.tensor(float(exact), dtype=torch.float64)
        for order in (1, 2, 3):
            function = torch.func.grad(function)
            expected = float(
                mpmath.diff(
                    lambda x: elementwise_inverse(a, b, x, theta),
                    exact,
                    order,
                    h=mpmath.mpf("1e-20"),
                )
            )
            # Lengths over which φ⁻¹ bends, √b or |θ|, in units of η: one of them an order.
            length = min(b**0.5, 1.0) * float(bijection.jacobian(torch.tensor([theta]).double()))
            assert abs(float(function(eta)) - expected) <= 1e3 * EPS * length**-order * 8.0**order


def test_centers_are_copied():
    center = ZERO.clone()
    bijection = RadialPower(1.0, 1.0, center)
    center += 1
    assert torch.equal(bijection.center, ZERO)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (0.5, -1.0, "softening must be at least 0"),
        (-0.5, 0.0, "exponent must exceed -1/2 where softening is 0"),
        (-2.0, 0.0, "exponent must exceed -1/2 where softening is 0"),
        (0.5, 1e-300, "softening must be 0 or at least"),
        (float("nan"), 1.0, "exponent and softening must be finite"),
        (1.0, float("inf"), "exponent and softening must be finite"),
    ],
)
def test_what_is_nowhere_a_diffeomorphism_is_refused(power, a, b, message):
    with pytest.raises(ValueError, match=message):
        power(a, b, ZERO)


def test_without_softening_the_center_is_refused():
    with pytest.raises(ValueError, match=r"‖theta − center‖² must not be 0 where softening is 0"):
        RadialPower(0.5, 0.0, THETA).check(THETA)
    with pytest.raises(ValueError, match=r"entry 1 of \(theta − center\)² must not be 0"):
        ElementwisePower(0.5, 0.0, torch.tensor([0.0, -2.0, 0.0]).double()).check(THETA)
    with pytest.raises(ValueError, match=r"‖eta − image_center‖² must not be 0"):
        RadialPower(0.5, 0.0, ZERO).check_image(ZERO)
    RadialPower(0.5, 0.0, torch.tensor([0.0, -2.0, 0.0]).double()).check(THETA)


@pytest.mark.parametrize("power", POWERS)
def test_without_exponent_the_center_is_allowed(power):
    identity = power(0.0, 0.0, THETA)
    identity.check(THETA)
    assert torch.equal(identity.jacobian(THETA), torch.eye(3).double())
    assert float(identity.log_abs_det(THETA)) == 0


@pytest.mark.parametrize(("a", "b"), [(-1.0, 9.0), (-1.0, 8.99), (-0.75, 4.5)])
def test_at_and_beyond_the_turning_point_is_refused(a, b):
    with pytest.raises(ValueError, match=r"‖theta − center‖² must be below the turning point"):
        RadialPower(a, b, ZERO).check(THETA)
    RadialPower(a, b + 0.1, ZERO).check(THETA)
    with pytest.raises(ValueError, match=r"entry 1 of .* must be below the turning point"):
        ElementwisePower(-1.0, 4.0, ZERO).check(THETA)


@pytest.mark.parametrize(("a", "largest"), [(-0.5, 1.0), (-1.0, 0.125)])
def test_what_no_theta_is_mapped_to_is_refused(a, largest):
    """a = −1, b = 2: σ ≤ b/(2b)² = 1/8."""
    bijection = RadialPower(a, 2.0, ZERO)
    outside = torch.tensor([largest**0.5 * 1.001, 0.0, 0.0]).double()
    with pytest.raises(ValueError, match=r"‖eta − image_center‖² must be below exp"):
        bijection.check_image(outside)
    assert bool(bijection.inverse(outside).isnan().any())
    bijection.check_image(outside * 0.99)


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_squares_that_leave_the_range_of_floats_are_refused(scale):
    with pytest.raises(ValueError, match="must have an image whose square neither"):
        RadialPower(2.0, 1e-120, ZERO).check(scale * THETA)


def test_an_image_center_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="image_center must have the shape of center"):
        RadialPower(0.5, 1.0, ZERO, torch.zeros(2).double())
    with pytest.raises(ValueError, match="center must be a non-empty real vector"):
        RadialPower(0.5, 1.0, torch.zeros(0).double())
