"""Any invertible linear map."""

import pytest
import torch

from igsref.transforms.bijections import DenseLinear
from tests.strategies import gaussian


@pytest.mark.parametrize(
    "matrix", [torch.zeros(3, 3), torch.ones(3, 3), torch.diag(torch.arange(3.0))]
)
def test_a_singular_matrix_is_refused(matrix):
    with pytest.raises(ValueError, match="matrix must be invertible in float64"):
        DenseLinear(matrix)


def test_a_product_that_is_singular_but_for_rounding_is_refused():
    with pytest.raises(ValueError, match="matrix must be invertible in float64"):
        DenseLinear(gaussian(0, 6, 5) @ gaussian(1, 5, 6))


def test_what_is_not_square_or_not_finite_is_refused():
    with pytest.raises(ValueError, match="matrix must be square"):
        DenseLinear(gaussian(0, 3, 2))
    with pytest.raises(ValueError, match=r"matrix must be finite; matrix\[0, 1\] is nan"):
        DenseLinear(torch.tensor([[1.0, torch.nan], [0.0, 1.0]]))


def test_the_given_matrix_is_copied():
    matrix = torch.eye(2).double()
    bijection = DenseLinear(matrix)
    matrix *= 3
    assert torch.equal(bijection.forward(torch.ones(2).double()), torch.ones(2).double())
