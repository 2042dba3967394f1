"""Scaling and permuting hidden units."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from igsref.transforms.symmetries import hidden_widths, permute_nodes, scale_layers, scale_nodes
from tests.strategies import gaussian, mlp, relu_networks


def units(model: nn.Sequential, value: float) -> list[torch.Tensor]:
    return [torch.full((width,), value).double() for width in hidden_widths(model)]


@given(network=relu_networks(), exponent=st.integers(-30, 30))
def test_scaling_by_a_power_of_two_keeps_every_bit_of_the_function(network, exponent):
    model, x, _ = network
    assert torch.equal(scale_nodes(model, units(model, 2.0**exponent))(x), model(x))


def test_scaling_changes_the_parameters_and_leaves_the_given_model_alone():
    model = mlp(0, [2, 3, 2], nn.ReLU)
    before = model[0].weight.detach().clone()
    scaled = scale_layers(model, [4.0])
    assert torch.equal(scaled[0].weight, 4 * before)
    assert torch.equal(model[0].weight, before)


def test_permuting_keeps_the_function():
    model, x = mlp(0, [2, 5, 4, 3], nn.Tanh), gaussian(1, 6, 2)
    permuted = permute_nodes(model, [torch.tensor([4, 2, 0, 1, 3]), torch.tensor([3, 2, 1, 0])])
    torch.testing.assert_close(permuted(x), model(x), rtol=1e-14, atol=1e-14)
    assert not torch.equal(permuted[0].weight, model[0].weight)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: scale_nodes(m, []), ValueError, "factors must hold one entry per hidden layer"),
        (lambda m: scale_nodes(m, units(m, -1.0)), ValueError, "factors must be positive"),
        (lambda m: scale_layers(m, [1.0, 2.0]), ValueError, "factors must hold one entry"),
        (lambda m: permute_nodes(m, [torch.tensor([0, 0, 1])]), ValueError, "permutations of 0"),
        (lambda m: scale_nodes(mlp(0, [2, 3, 2], nn.Tanh), units(m, 2.0)), ValueError, "Tanh"),
        (lambda m: hidden_widths(nn.Sequential(nn.Conv1d(1, 1, 1))), ValueError, "chain of"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(mlp(0, [2, 3, 2], nn.ReLU))


def test_a_layer_used_twice_is_refused():
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="uses a layer twice"):
        hidden_widths(nn.Sequential(layer, nn.ReLU(), layer))
