"""One bijection after another, and backwards."""

import pytest
import torch

from igsref.transforms.bijections import (
    Composition,
    Diagonal,
    RadialPower,
    Sinh,
    Softplus,
    Triangular,
    invert,
)
from tests.strategies import gaussian

TWO = Diagonal(torch.tensor([2.0, 2.0]))
SHEAR = Triangular(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
THETA = torch.tensor([1.0, 2.0]).double()


def test_the_first_part_acts_first():
    chain = Composition((Sinh(), TWO))
    assert torch.equal(chain.forward(THETA), 2 * torch.sinh(THETA))
    assert torch.equal(Composition((TWO, Sinh())).forward(THETA), torch.sinh(2 * THETA))
    assert chain.name == "sinh, then diagonal"
    assert invert(chain).name == "inverse of sinh, then diagonal"


def test_jacobians_multiply_in_order():
    scale = Diagonal(torch.tensor([2.0, 4.0]))
    jacobian = Composition((SHEAR, scale)).jacobian(THETA)
    assert torch.equal(jacobian, scale.jacobian(THETA) @ SHEAR.jacobian(THETA))
    assert not torch.equal(jacobian, SHEAR.jacobian(THETA) @ scale.jacobian(THETA))


def test_log_dets_add():
    assert float(Composition((TWO, TWO)).log_abs_det(THETA)) == pytest.approx(
        4 * 0.6931471805599453
    )


def test_each_part_is_asked_where_it_acts():
    negative = Diagonal(torch.tensor([-1.0, -1.0]))
    with pytest.raises(ValueError, match="theta must be positive"):
        Composition((negative, Softplus())).check(THETA)
    Composition((negative, Softplus())).check(-THETA)
    Composition((Softplus(), negative)).check(THETA)


def test_the_inverse_takes_images_only():
    bounded = RadialPower(-0.5, 1.0, torch.zeros(2))
    with pytest.raises(ValueError, match="must be below exp"):
        invert(bounded).check(THETA)
    with pytest.raises(ValueError, match="must be below exp"):
        Composition((bounded, TWO)).check_image(2 * THETA)
    invert(bounded).check(THETA / 4)
    Composition((bounded, TWO)).check_image(THETA / 4)


def test_overflow_on_the_way_is_refused():
    with pytest.raises(ValueError, match="the image of theta must be finite"):
        Composition((Diagonal(torch.full((2,), 1e300, dtype=torch.float64)),) * 2).check(THETA)


def test_no_parts_are_refused():
    with pytest.raises(ValueError, match="parts must hold at least one bijection"):
        Composition(())


def test_parts_may_come_as_a_list_that_changes_later():
    parts = [TWO, SHEAR]
    chain = Composition(parts)
    parts.clear()
    assert chain.parts == (TWO, SHEAR)


def test_a_chain_with_its_inverse_is_the_identity():
    chain, theta = Composition((TWO, SHEAR)), gaussian(0, 2)
    both = Composition((chain, invert(chain)))
    torch.testing.assert_close(both.forward(theta), theta, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(both.jacobian(theta), torch.eye(2).double(), rtol=0, atol=1e-14)
