"""A common shift of all logits keeps class differences."""

import pytest
import torch
from torch import nn

import igsref
from igsref.transforms.symmetries import draw_softmax_shift, shift_softmax
from tests.assertions import assert_same_igs
from tests.closeness import assert_within
from tests.strategies import Recurrent, TiedAutoencoder, classes, gaussian, mlp
from tests.transforms.networks import NETWORKS, allowance, flat, generator, network


def test_small_integers_shift_all_logits_exactly():
    model = nn.Linear(2, 3).double()
    model.weight.data.copy_(torch.arange(6).view(3, 2))
    model.bias.data.zero_()
    shifted = shift_softmax(model, torch.tensor([1.0, -2.0]), 5.0)
    x = torch.tensor([[3.0, 1.0], [0.0, 4.0]]).double()
    assert torch.equal(shifted(x) - model(x), torch.tensor([[6.0] * 3, [-3.0] * 3]))


@pytest.mark.parametrize("name", NETWORKS)
def test_class_differences_stay_and_logits_do_not(name):
    model, x = network(name, 2)
    shifted = draw_softmax_shift(model, generator(1), 1.0)
    before, after = model(x).detach(), shifted(x).detach()
    assert float((before - after).abs().max()) > 0.1
    assert not torch.equal(flat(shifted), flat(model))
    allowed = allowance(model, shifted, x)
    assert_within(after.diff(dim=1), before.diff(dim=1), allowed[:, 1:] + allowed[:, :-1])


def test_igs_stays():
    model, data = mlp(1, [2, 3, 3], nn.ReLU), (gaussian(2, 9, 2), classes(3, 9, 3))
    shifted = draw_softmax_shift(model, generator(4), 0.5)
    assert_same_igs(igsref.exact_igs(model, data), igsref.exact_igs(shifted, data))


def test_the_last_layer_may_stand_behind_what_the_pass_does_not_know():
    model = Recurrent(nn.GRU).double().eval()
    assert torch.equal(shift_softmax(model, torch.zeros(4), 0.0).head.weight, model.head.weight)


@pytest.mark.parametrize(
    ("model", "direction", "offset", "message"),
    [
        (mlp(0, [2, 3, 2], nn.ReLU), torch.ones(2), 0.0, r"direction must have shape \(3,\)"),
        (mlp(0, [2, 3, 2], nn.ReLU), torch.full((3,), torch.inf), 0.0, "must be finite"),
        (mlp(0, [2, 3, 2], nn.ReLU), torch.ones(3), float("nan"), "must be finite"),
        (mlp(0, [2, 3, 2], nn.ReLU, bias=False), torch.ones(3), 1.0, "offset must be 0"),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU()), torch.ones(2), 0.0, "model must return"),
        (nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten()), torch.ones(2), 0.0, "model must return"),
    ],
)
def test_what_does_not_fit_is_refused(model, direction, offset, message):
    with pytest.raises(ValueError, match=message):
        shift_softmax(model, direction, offset)


def test_a_last_layer_with_tied_weights_is_refused():
    model = TiedAutoencoder(3)
    model.head.weight = model.encoder.weight
    with pytest.raises(ValueError, match="uses nowhere else"):
        shift_softmax(model, torch.ones(3))


def test_strength_zero_is_the_identity():
    model = mlp(0, [2, 3, 2], nn.ReLU)
    assert torch.equal(flat(draw_softmax_shift(model, generator(0), 0.0)), flat(model))
