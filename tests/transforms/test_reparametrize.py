"""Linear reparametrisations."""

import pytest
import torch
from torch import nn

from igsref.transforms.reparametrize import reparametrize_linearly
from tests.strategies import gaussian, mlp


def test_function_in_other_coordinates_gives_the_same_logits():
    model, x = mlp(0, [2, 3, 2], nn.Tanh), gaussian(1, 5, 2)
    m = sum(p.numel() for p in model.parameters())
    function, params = reparametrize_linearly(model, gaussian(2, m, m) + 10 * torch.eye(m))
    torch.testing.assert_close(function(params, x), model(x), rtol=1e-12, atol=1e-12)
    assert params["theta"].shape == (m,)


def test_matrix_of_the_wrong_size_is_refused():
    with pytest.raises(ValueError, match="matrix must be 17 × 17"):
        reparametrize_linearly(mlp(0, [2, 3, 2], nn.Tanh), torch.eye(3).double())


def test_singular_matrix_is_refused():
    with pytest.raises(ValueError, match="matrix must be invertible"):
        reparametrize_linearly(mlp(0, [2, 3, 2], nn.Tanh), torch.zeros(17, 17).double())
