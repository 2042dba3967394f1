"""Permutations of channels keep the function."""

import pytest
import torch
from torch import nn

import igsref
from igsref.transforms.symmetries import draw_permutation, hidden_widths, permute_nodes
from tests.assertions import assert_same_igs
from tests.strategies import TiedAutoencoder, classes, gaussian, mlp
from tests.transforms.networks import NETWORKS, assert_same_function, generator, network


def test_channel_c_is_the_given_channel_of_the_order():
    model = mlp(0, [2, 3, 2], nn.Tanh)
    permuted = permute_nodes(model, [torch.tensor([2, 0, 1])])
    assert torch.equal(permuted[0].weight[0], model[0].weight[2])
    assert torch.equal(permuted[0].bias[1], model[0].bias[0])
    assert torch.equal(permuted[2].weight[:, 2], model[2].weight[:, 1])


@pytest.mark.parametrize("name", NETWORKS)
def test_permuting_keeps_the_function(name):
    for seed in range(2):
        model, x = network(name, seed)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        assert_same_function(model, draw_permutation(model, generator(seed), 1.0), x)
        assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)


def test_an_order_and_its_inverse_give_the_network_back():
    model, _ = network("ResNet", 1)
    orders = [torch.randperm(w, generator=generator(w)) for w in hidden_widths(model)]
    back = permute_nodes(permute_nodes(model, orders), [order.argsort() for order in orders])
    for one, other in zip(back.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_igs_stays():
    model, data = mlp(1, [2, 4, 3], nn.GELU), (gaussian(2, 9, 2), classes(3, 9, 3))
    permuted = draw_permutation(model, generator(4), 1.0)
    assert_same_igs(igsref.exact_igs(model, data), igsref.exact_igs(permuted, data))


def test_a_draw_is_never_the_given_order():
    model = mlp(0, [2, 2, 2], nn.ReLU)
    for seed in range(8):
        permuted = draw_permutation(model, generator(seed), 1.0)
        assert torch.equal(permuted[0].weight, model[0].weight[[1, 0]])


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ([torch.tensor([0, 0, 1])], r"orders\[0\] must be a permutation of 0\.\.2; 2 is n"),
        ([torch.tensor([0, 1])], r"orders must hold .*widths \[3\]; got 1 of widths \[2\]"),
        ([], "orders must hold"),
    ],
)
def test_orders_that_do_not_fit_are_refused(orders, message):
    with pytest.raises(ValueError, match=message):
        permute_nodes(mlp(0, [2, 3, 2], nn.ReLU), orders)


def test_a_network_without_a_place_is_refused():
    layer = nn.Linear(2, 2)
    for model in (TiedAutoencoder(4), nn.Sequential(layer, nn.ReLU(), layer)):
        assert hidden_widths(model) == []
        with pytest.raises(ValueError, match="no channels that can be permuted; in the way: "):
            permute_nodes(model, [])
