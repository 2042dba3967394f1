"""Layer scaling keeps the function."""

import pytest
import torch
from torch import nn

import igsref
from igsref.transforms.symmetries import (
    draw_layer_factors,
    draw_layer_scaling,
    draw_layer_scaling_by_powers_of_two,
    scale_layers,
)
from tests.assertions import assert_same_bits
from tests.strategies import classes, gaussian, mlp
from tests.transforms.networks import SCALABLE, assert_same_function, generator, network


def test_a_layer_is_scaled_as_one():
    model = mlp(0, [2, 3, 2], nn.ReLU)
    scaled = scale_layers(model, [3.0])
    assert torch.equal(scaled[0].weight, 3 * model[0].weight)
    assert torch.equal(scaled[2].weight, model[2].weight / 3)


@pytest.mark.parametrize("name", SCALABLE)
def test_scaling_keeps_the_function(name):
    model, x = network(name, 5)
    assert_same_function(model, draw_layer_scaling(model, generator(1), 5.0), x)
    exact = draw_layer_scaling_by_powers_of_two(model, generator(1), 5.0)
    assert torch.equal(exact(x), model(x))


def test_every_factor_is_at_an_end_of_its_strength():
    model = mlp(0, [2, *[2] * 20, 2], nn.ReLU)
    factors = draw_layer_factors(model, generator(1), 2.0)
    assert {round(f, 12) for f in factors} == {100.0, 0.01}


def test_igs_stays_bit_for_bit_under_powers_of_two():
    model, data = mlp(1, [2, 3, 3], nn.ReLU), (gaussian(2, 9, 2), classes(3, 9, 3))
    scaled = draw_layer_scaling_by_powers_of_two(model, generator(4), 6.0)
    assert_same_bits(igsref.exact_igs(model, data), igsref.exact_igs(scaled, data))


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([1.0, 2.0], "factors must hold one entry per group of channels, 1; got 2"),
        ([0.0], "factors must be positive"),
        ([float("inf")], "factors must be positive"),
    ],
)
def test_factors_that_do_not_fit_are_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        scale_layers(mlp(0, [2, 3, 2], nn.ReLU), factors)


def test_a_network_without_a_place_is_refused():
    with pytest.raises(ValueError, match=r"no channels that can be scaled.*Tanh"):
        scale_layers(mlp(0, [2, 3, 2], nn.Tanh), [1.0])
