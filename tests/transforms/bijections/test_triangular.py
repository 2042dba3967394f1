"""Triangular linear maps."""

import pytest
import torch

from igsref.transforms.bijections import Triangular
from tests.strategies import gaussian


def test_which_half_is_filled_is_read_off():
    matrix = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    assert Triangular(matrix).is_upper
    assert not Triangular(matrix.mT).is_upper
    for one in (Triangular(matrix), Triangular(matrix.mT)):
        assert torch.equal(one.inverse(one.forward(torch.ones(2))), torch.ones(2))


def test_columns_of_very_different_size_cost_no_digit():
    """Substitution does not see the scale: a dense solve with κ = 1e24 would be refused."""
    matrix = torch.tensor([[1e12, 0.0], [3e11, 1e-12]], dtype=torch.float64)
    theta = torch.tensor([1.0, 1e24], dtype=torch.float64)
    bijection = Triangular(matrix)
    torch.testing.assert_close(
        bijection.inverse(bijection.forward(theta)), theta, rtol=1e-14, atol=0
    )


def test_what_is_not_triangular_is_refused():
    with pytest.raises(ValueError, match="matrix must be triangular"):
        Triangular(gaussian(0, 3, 3))
    with pytest.raises(ValueError, match="matrix must be square"):
        Triangular(gaussian(0, 3, 2))


def test_a_zero_on_the_diagonal_is_refused():
    with pytest.raises(ValueError, match=r"matrix must be invertible.*diagonal\[1\]"):
        Triangular(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
