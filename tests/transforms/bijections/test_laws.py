"""What holds for every bijection: the way back, Jacobians, determinants, higher derivatives."""

import pytest
import torch
from torch.func import hessian, jacfwd, jacrev, jvp, vmap

from igsref.transforms.bijections import Bijection, Inverse, invert
from tests.closeness import EPS, assert_within
from tests.transforms.bijections.cases import BIJECTIONS, domain_point, rounding

SIZE = 6


@pytest.fixture(params=BIJECTIONS)
def case(request):
    bijection, theta = BIJECTIONS[request.param](SIZE), domain_point(request.param, SIZE)
    bijection.check(theta)
    return bijection, theta, rounding(bijection, theta)


def test_it_has_the_face_of_a_bijection(case):
    bijection, theta, _ = case
    assert isinstance(bijection, Bijection)
    assert bijection.name
    bijection.check_image(bijection.forward(theta))


def test_there_and_back_loses_no_more_than_the_condition(case):
    bijection, theta, known = case
    eta = bijection.forward(theta)
    assert_within(bijection.inverse(eta), theta, known.theta)
    # And once more, from an η that φ⁻¹ has not been made from: φ amplifies by ‖Φ‖.
    moved = torch.linalg.matrix_norm(known.jacobian, 2) * known.theta + known.eta
    assert_within(bijection.forward(bijection.inverse(eta)), eta, float(moved))


def test_jacobian_is_the_derivative(case):
    bijection, theta, known = case
    size = torch.linalg.matrix_norm(known.jacobian, 2)
    # Inverse inverts a Jacobian: κ.
    allowed = EPS * (SIZE + 32) * known.condition * float(size) + known.slope * float(size)
    assert_within(bijection.jacobian(theta), known.jacobian, allowed)


def test_derivative_of_the_way_back_is_the_inverse_matrix(case):
    bijection, theta, known = case
    eta = bijection.forward(theta)
    # Entries of D(φ⁻¹)Φ are sums of m products, each as uncertain as D(φ⁻¹).
    allowed = SIZE * known.derivative * known.condition
    identity = torch.eye(SIZE).double()
    for derivative in (jacrev, jacfwd):
        assert_within(derivative(bijection.inverse)(eta) @ known.jacobian, identity, allowed)
    plain = torch.autograd.functional.jacobian(bijection.inverse, eta)
    assert_within(plain @ known.jacobian, identity, allowed)


def test_log_abs_det_is_that_of_the_jacobian(case):
    bijection, theta, known = case
    expected = torch.linalg.slogdet(known.jacobian).logabsdet
    # ∂ log|det Φ| = tr(Φ⁻¹ ∂Φ): m times a relative error of Φ times κ; and the sum's own rounding.
    allowed = SIZE * (known.derivative + known.slope) + EPS * (SIZE + 32) * (1 + expected.abs())
    assert_within(bijection.log_abs_det(theta), expected, float(allowed))


def test_second_derivatives_of_the_way_back(case):
    """D²(φ⁻¹)(u, v) = −Φ⁻¹ D²φ(Φ⁻¹u, Φ⁻¹v): the right side never sees ``inverse``."""
    bijection, theta, known = case
    back = torch.linalg.inv(known.jacobian)
    bend = hessian(bijection.forward)(theta)
    expected = -torch.einsum("ai,ijk,jb,kc->abc", back, bend, back, back)
    third = jacrev(hessian(bijection.forward))(theta)
    # Three factors Φ⁻¹ known to `derivative` each, and D²φ, which moves with θ by D³φ.
    size = torch.linalg.matrix_norm(back, 2) ** 3
    allowed = 4 * known.derivative * size * bend.norm() * known.condition
    allowed = allowed + size * third.norm() * known.theta + EPS * (SIZE + 32) * size
    eta = bijection.forward(theta)
    assert_within(hessian(bijection.inverse)(eta), expected, float(allowed))
    assert_within(jacrev(jacrev(bijection.inverse))(eta), expected, float(allowed))


def test_third_derivatives_of_the_way_back(case):
    """φ(φ⁻¹(η + tu)) = η + tu, differentiated three times in t, in forward mode."""
    bijection, theta, known = case
    eta = bijection.forward(theta)
    u = torch.ones(SIZE).double() / SIZE**0.5

    def along(function):
        return lambda t: jvp(function, (t,), (torch.ones_like(t),))[1]

    def path(t):
        return bijection.forward(bijection.inverse(eta + t * u))

    third = along(along(along(path)))(torch.zeros(()).double())
    terms = along(along(along(lambda t: bijection.inverse(eta + t * u))))(torch.zeros(()).double())
    # Faà di Bruno's terms have the size of Φ D³(φ⁻¹) and cancel; each is as uncertain as D(φ⁻¹),
    # three times over.
    size = float(torch.linalg.matrix_norm(known.jacobian, 2) * terms.norm()) + 1
    assert_within(third, torch.zeros_like(u), 64 * known.derivative * known.condition * size)


def test_many_vectors_go_through_at_once(case):
    bijection, theta, known = case
    etas = torch.stack([bijection.forward(theta), bijection.forward(theta * 0.99)])
    expected = torch.stack([bijection.inverse(eta) for eta in etas])
    assert_within(vmap(bijection.inverse)(etas), expected, 4 * known.theta)


def test_float32_goes_through_as_float32(case):
    bijection, theta, known = case
    back = bijection.inverse(bijection.forward(theta.float()))
    assert back.dtype == torch.float32
    for value in (bijection.jacobian(theta.float()), bijection.log_abs_det(theta.float())):
        assert value.dtype == torch.float32
    assert_within(back, theta, 2.0**29 * known.theta)


def test_given_vectors_are_left_alone(case):
    bijection, theta, _ = case
    before = theta.clone()
    bijection.inverse(bijection.forward(theta))
    bijection.jacobian(theta)
    assert torch.equal(theta, before)


def test_inverse_of_the_inverse_is_the_original(case):
    bijection, theta, known = case
    other = Inverse(bijection)
    assert invert(other) is bijection
    eta = bijection.forward(theta)
    product = other.jacobian(eta) @ bijection.jacobian(theta)
    allowed = SIZE * known.derivative * known.condition
    assert_within(product, torch.eye(SIZE).double(), allowed)


@pytest.mark.parametrize("name", BIJECTIONS)
@pytest.mark.parametrize("which", ["check", "check_image"])
def test_what_is_no_vector_is_refused(name, which):
    check = getattr(BIJECTIONS[name](SIZE), which)
    with pytest.raises(ValueError, match="must be a floating-point vector"):
        check(torch.arange(SIZE).double()[:0].long())
    with pytest.raises(ValueError, match="must be finite"):
        check(torch.full((SIZE,), torch.nan, dtype=torch.float64))


SIZED = [name for name in BIJECTIONS if name not in ("sinh", "cubic", "softplus", "asinh")]


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("which", ["check", "check_image"])
def test_another_size_is_refused(name, which):
    with pytest.raises(ValueError, match=r"must have shape \(6,\) for this bijection; got \(5,\)"):
        getattr(BIJECTIONS[name](SIZE), which)(torch.ones(5).double())
