"""Factors and orders on the tensors of a network."""

import pytest
import torch
from torch import nn

from igsref.graph import ChannelGroup, Place
from igsref.transforms.symmetries.action import (
    check_fit,
    check_place,
    multiply,
    named_tensors,
    refuse_channels,
    reorder,
    widths,
)
from tests.strategies import mlp

GROUP = ChannelGroup(3, (Place("0.weight", 0), Place("0.bias", 0)), (Place("2.weight", 1),))


def full(factor: float) -> torch.Tensor:
    return torch.full((3,), factor, dtype=torch.float64)


def test_factors_multiply_producers_and_divide_consumers():
    model = mlp(0, [2, 3, 2], nn.ReLU)
    factor = torch.tensor([2.0, 3.0, 5.0]).double()
    changed = multiply(model, [GROUP], [factor])
    assert torch.equal(changed[0].weight, model[0].weight * factor[:, None])
    assert torch.equal(changed[0].bias, model[0].bias * factor)
    assert torch.equal(changed[2].weight, model[2].weight / factor)
    assert torch.equal(changed[2].bias, model[2].bias)


def spread(outer: int, inner: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What factors and an order do to a bias of ones and to one of 0, 1, 2, …"""
    model = nn.Linear(1, 2 * outer * inner).double()
    group = ChannelGroup(2, (Place("bias", 0, outer, inner),), ())
    model.bias.data.fill_(1)
    scaled = multiply(model, [group], [torch.tensor([2.0, 3.0])]).bias
    model.bias.data.copy_(torch.arange(len(model.bias)))
    return scaled.detach(), reorder(model, [group], [torch.tensor([1, 0])]).bias.detach()


def test_an_axis_is_read_as_outer_size_inner():
    scaled, moved = spread(2, 3)
    assert scaled.tolist() == [2, 2, 2, 3, 3, 3] * 2
    assert moved.tolist() == [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]


def test_orders_move_followers_too():
    model = nn.BatchNorm1d(3).double()
    model.running_var.copy_(torch.tensor([1.0, 2.0, 3.0]))
    group = ChannelGroup(3, (Place("weight", 0),), (), (Place("running_var", 0),))
    moved = reorder(model, [group], [torch.tensor([2, 0, 1])])
    assert moved.running_var.tolist() == [3, 1, 2]
    assert model.running_var.tolist() == [1, 2, 3]


@pytest.mark.parametrize("factor", [0.0, float("inf"), float("nan"), 1e-60])
def test_factors_that_are_zero_or_infinite_in_the_type_of_the_tensors_are_refused(factor):
    with pytest.raises(ValueError, match=r"in torch\.float32, .*0\.weight; .*channel 1 is"):
        factors = torch.tensor([1.0, factor, factor]).double()
        multiply(mlp(0, [2, 3, 2], nn.ReLU).float(), [GROUP], [factors])


@pytest.mark.parametrize("factor", [1e308, 1e-308])
def test_factors_that_make_weights_overflow_or_underflow_are_refused(factor):
    model = mlp(0, [2, 3, 2], nn.ReLU)
    model[0].weight.data.mul_(factor**0.1)
    model[2].weight.data.mul_(factor**0.1)
    with pytest.raises(ValueError, match="overflow or underflow"):
        multiply(model, [GROUP], [full(factor)])


def test_parameters_stay_parameters_of_the_same_names():
    model = mlp(0, [2, 3, 2], nn.ReLU)
    changed = multiply(model, [GROUP], [full(2.0)])
    assert list(named_tensors(changed)) == list(named_tensors(model))
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in changed.parameters())


def test_checks_name_what_was_expected_and_what_came():
    assert widths([GROUP]) == [3]
    check_fit("factors", [torch.ones(3)], [GROUP])
    with pytest.raises(
        ValueError, match=r"factors must hold .*widths \[3\]; got 1 of widths \[2\]"
    ):
        check_fit("factors", [torch.ones(2)], [GROUP])
    with pytest.raises(ValueError, match=r"be scaled; in the way: tanh; relu"):
        check_place([], "scaled", ["tanh", "relu", "tanh"])
    given = [torch.ones(3), torch.tensor([1.0, 1.0, 4.0])]
    refuse_channels("signs", given[:1], lambda sign: sign == 1, "one")
    with pytest.raises(ValueError, match=r"signs must be one; that of group 1, channel 2 is 4\.0"):
        refuse_channels("signs", given, lambda sign: sign == 1, "one")
