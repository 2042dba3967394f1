"""Sign flips keep the function of odd networks."""

import pytest
import torch
from torch import nn

import igsref
from igsref.transforms.symmetries import draw_sign_flip, flip_signs, flippable_widths
from tests.assertions import assert_same_bits
from tests.strategies import classes, gaussian, mlp
from tests.transforms.networks import FLIPPABLE, flat, generator, network


@pytest.mark.parametrize("name", FLIPPABLE)
def test_flipping_keeps_every_bit_of_the_function(name):
    for seed in range(3):
        model, x = network(name, seed)
        flipped = draw_sign_flip(model, generator(seed), 1.0)
        assert torch.equal(flipped(x), model(x))
        assert not torch.equal(flat(flipped), flat(model))
        assert torch.equal(flat(flipped).abs(), flat(model).abs())


def test_only_channels_of_sign_minus_one_change():
    model = mlp(0, [2, 3, 2], nn.Tanh)
    flipped = flip_signs(model, [torch.tensor([1.0, -1.0, 1.0])])
    assert torch.equal(flipped[0].bias, model[0].bias * torch.tensor([1, -1, 1]))
    assert torch.equal(flipped[2].weight, model[2].weight * torch.tensor([1, -1, 1]))


def test_igs_stays_bit_for_bit():
    model, data = mlp(1, [2, 4, 3], nn.Tanh), (gaussian(2, 9, 2), classes(3, 9, 3))
    flipped = draw_sign_flip(model, generator(4), 1.0)
    assert_same_bits(igsref.exact_igs(model, data), igsref.exact_igs(flipped, data))


@pytest.mark.parametrize(
    ("signs", "message"),
    [
        (
            [torch.tensor([1.0, -1.0, 2.0])],
            r"signs must be \+1 or −1; .*group 0, channel 2 is 2\.0",
        ),
        ([torch.zeros(3)], "signs must be"),
        ([torch.ones(2)], "signs must hold one entry per group"),
    ],
)
def test_signs_that_do_not_fit_are_refused(signs, message):
    with pytest.raises(ValueError, match=message):
        flip_signs(mlp(0, [2, 3, 2], nn.Tanh), signs)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Sigmoid])
def test_a_network_that_is_not_odd_is_refused_by_name(activation):
    model = mlp(0, [2, 3, 2], activation)
    assert flippable_widths(model) == []
    with pytest.raises(ValueError, match=rf"changed in sign.*1 \({activation.__name__}\)"):
        flip_signs(model, [])
