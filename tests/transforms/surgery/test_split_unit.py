"""Splitting a unit changes the number of parameters, and neither outputs nor IGS."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.transforms.surgery import draw_split_unit, split_unit
from tests.assertions import assert_same_igs
from tests.closeness import EPS, assert_within
from tests.strategies import ACTIVATIONS, SEEDS, architecture, classes, gaussian, mlp
from tests.transforms.surgery.cases import RESIDUAL, residual

pytestmark = pytest.mark.filterwarnings("ignore::igsref.AccuracyWarning")


@settings(max_examples=3, deadline=None)
@given(seed=SEEDS, activation=st.sampled_from(sorted(ACTIVATIONS)), bias=st.booleans())
def test_split_network_has_the_same_igs(seed, activation, bias):
    model = mlp(seed, [2, 4, 3, 3], ACTIVATIONS[activation], bias=bias)
    data = gaussian(seed + 1, 40, 2), classes(seed + 2, 40, 3)
    split = draw_split_unit(model, torch.Generator().manual_seed(seed))
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(split, data)
    assert after.num_parameters > before.num_parameters
    assert_same_igs(before, after)


@pytest.mark.parametrize("layer, grown", [("0", 9 + 1 + 2 + 2 * 4), ("3", 3 * 4 + 1 + 4 * 3)])
def test_split_channel_leaves_igs_with_batch_norm_and_flattened_maps(layer, grown):
    model, x, y = architecture("batch norm", 0, 50)
    split = split_unit(model, layer, unit=1, fraction=0.25)
    before, after = igsref.exact_igs(model, (x, y)), igsref.exact_igs(split, (x, y))
    assert after.num_parameters - before.num_parameters == grown
    assert before.saturation < 0.999
    assert_same_igs(before, after)


@pytest.mark.parametrize("name", RESIDUAL)
def test_split_of_shared_channels_leaves_igs(name):
    model, layer, data = residual(name, 0)
    split = split_unit(model, layer, unit=1, fraction=0.25)
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(split, data)
    assert after.num_parameters > before.num_parameters
    assert before.saturation < 0.999
    assert_same_igs(before, after)


def test_halves_change_no_bit_and_the_model_stays():
    # Small integers: sums are exact in any order.
    model, x = mlp(0, [2, 3, 2], nn.ReLU), gaussian(1, 9, 2).round()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_((4 * value).round())
    kept = copy.deepcopy(model.state_dict())
    split = split_unit(model, "0", unit=2)
    assert torch.equal(split(x), model(x))
    assert torch.equal(split[2].weight[:, 2], split[2].weight[:, 3])
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_other_fractions_move_outputs_by_rounding():
    model, x = mlp(0, [2, 3, 2], nn.Tanh).requires_grad_(False), gaussian(1, 9, 2)
    before, after = model(x), split_unit(model, "0", 0, fraction=0.3)(x)
    size = model[:2](x).abs() @ model[2].weight.abs().T + model[2].bias.abs()
    # 1 − α, two products and two sums of four and five terms: at most 12 roundings of eps/2.
    assert_within(after, before, 6 * EPS * size)


def test_copy_has_the_same_incoming_weights_and_shares_the_outgoing_ones():
    split = split_unit(mlp(0, [2, 3, 2], nn.Tanh), "0", unit=1, fraction=0.25)
    assert torch.equal(split[0].weight[1], split[0].weight[3])
    assert torch.equal(split[0].bias[1], split[0].bias[3])
    assert_within(3 * split[2].weight[:, 1].detach(), split[2].weight[:, 3].detach(), 1e-300)
    assert (split[0].out_features, split[2].in_features) == (4, 4)


def test_frozen_tensors_stay_frozen():
    model = mlp(0, [2, 3, 2], nn.Tanh)
    model[0].weight.requires_grad_(False)
    split = split_unit(model, "0", 0)
    assert [v.requires_grad for v in split.parameters()] == [False, True, True, True]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0, float("nan"), float("inf")])
def test_fraction_outside_of_the_open_interval_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction must lie between 0 and 1, both excluded"):
        split_unit(mlp(0, [2, 3, 2], nn.Tanh), "0", 0, fraction)


@pytest.mark.parametrize("unit", [-1, 3])
def test_unit_that_does_not_exist_is_refused_with_those_that_do(unit):
    with pytest.raises(ValueError, match=rf"unit must be one of 0\.\.2 of layer '0'; got {unit}"):
        split_unit(mlp(0, [2, 3, 2], nn.Tanh), "0", unit)


def test_draw_of_a_network_without_hidden_units_is_refused():
    with pytest.raises(ValueError, match="model has no layer with hidden units"):
        draw_split_unit(nn.Sequential(nn.Linear(2, 3)), torch.Generator())
