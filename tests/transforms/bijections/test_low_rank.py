"""Low rank plus identity."""

import pytest
import torch

from igsref.transforms.bijections import DenseLinear, LowRankPlusIdentity
from tests.closeness import EPS, assert_within
from tests.strategies import gaussian


def test_it_is_the_dense_map_of_the_same_matrix():
    low = LowRankPlusIdentity(gaussian(0, 7, 2), gaussian(1, 7, 2))
    theta = gaussian(2, 7)
    dense = DenseLinear(low.jacobian(theta))
    condition = torch.linalg.cond(dense.matrix)
    allowed = float(condition * EPS * 64 * theta.norm())
    assert_within(low.forward(theta), dense.forward(theta), allowed)
    assert_within(low.inverse(theta), dense.inverse(theta), allowed)
    expected = dense.log_abs_det(theta)
    assert_within(low.log_abs_det(theta), expected, float(64 * condition * EPS))


def test_large_factors_lose_no_more_than_the_condition():
    """Entries of 1e8; κ(T) is about as large."""
    left = torch.zeros(4, 1).double()
    left[0] = 1e8
    right = torch.tensor([[1.0], [1e-4], [0.0], [1e-4]]).double()
    low = LowRankPlusIdentity(left, right)
    theta = gaussian(0, 4)
    allowed = float(torch.linalg.cond(low.jacobian(theta))) * 8 * EPS * float(theta.norm())
    assert_within(low.inverse(low.forward(theta)), theta, allowed)


def test_a_singular_update_is_refused():
    """I − e eᵀ for a unit vector e."""
    e = torch.full((4, 1), 0.5)
    with pytest.raises(ValueError, match="must be invertible; the smallest singular value"):
        LowRankPlusIdentity(-e, e)


def test_an_update_singular_but_for_rounding_is_refused():
    e = torch.nn.functional.normalize(gaussian(0, 9, 1), dim=0)
    with pytest.raises(ValueError, match="must be invertible"):
        LowRankPlusIdentity(-e, e)


def test_factors_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"left and right must have one shape \(m, k\)"):
        LowRankPlusIdentity(torch.ones(4, 1), torch.ones(4, 2))
