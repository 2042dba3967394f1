"""Node scaling keeps the function."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.transforms.symmetries import (
    draw_node_factors,
    draw_node_scaling,
    draw_node_scaling_by_powers_of_two,
    nearest_powers_of_two,
    scalable_widths,
    scale_nodes,
)
from tests.assertions import assert_same_bits, assert_same_igs
from tests.strategies import classes, gaussian, mlp, relu_networks
from tests.transforms.networks import (
    NETWORKS,
    SCALABLE,
    assert_same_function,
    generator,
    network,
)


def units(model: nn.Module, value: float) -> list[torch.Tensor]:
    return [torch.full((width,), value).double() for width in scalable_widths(model)]


@settings(max_examples=25, deadline=None)
@given(drawn=relu_networks(), exponent=st.integers(-30, 30))
def test_scaling_by_a_power_of_two_keeps_every_bit_of_the_function(drawn, exponent):
    model, x, _ = drawn
    assert torch.equal(scale_nodes(model, units(model, 2.0**exponent))(x), model(x))


@pytest.mark.parametrize("name", SCALABLE)
def test_powers_of_two_keep_every_bit_of_every_network(name):
    for seed in range(3):
        model, x = network(name, seed)
        scaled = draw_node_scaling_by_powers_of_two(model, generator(seed), 6.0)
        assert torch.equal(scaled(x), model(x))


@pytest.mark.parametrize("name", SCALABLE)
def test_other_factors_keep_the_function_to_rounding(name):
    for seed, strength in enumerate([0.5, 3.0, 6.0]):
        model, x = network(name, seed)
        assert_same_function(model, draw_node_scaling(model, generator(seed), strength), x)


def test_scaling_leaves_the_given_model_and_its_inputs_alone():
    model = mlp(0, [2, 3, 2], nn.ReLU)
    before, factors = model[0].weight.detach().clone(), units(model, 3.0)
    scale_nodes(model, factors)
    assert torch.equal(model[0].weight, before)
    assert torch.equal(factors[0], torch.full((3,), 3.0).double())


def test_factors_reach_both_ends_of_their_strength():
    (factors,) = draw_node_factors(mlp(0, [2, 9, 2], nn.ReLU), generator(1), 3.0)
    assert float(factors.max()) == pytest.approx(1e3)
    assert float(factors.min()) == pytest.approx(1e-3)
    assert len(set(factors.tolist())) == 9


def test_strength_zero_is_the_identity_and_a_generator_repeats_itself():
    model, _ = network("VGG", 0)
    assert all(bool((f == 1).all()) for f in draw_node_factors(model, generator(1), 0.0))
    once, again = (draw_node_factors(model, generator(2), 1.0) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@given(exponent=st.integers(-1000, 1000), fraction=st.floats(-0.49, 0.49))
def test_the_nearest_power_of_two_is_nearest_in_ratio(exponent, fraction):
    factor = torch.tensor([2.0**fraction]).double() * 2.0**exponent
    assert nearest_powers_of_two([factor])[0].item() == 2.0**exponent


def test_igs_stays_bit_for_bit_under_powers_of_two_and_to_rounding_otherwise():
    model, x, y = mlp(1, [2, 3, 3], nn.ReLU), gaussian(2, 9, 2), classes(3, 9, 3)
    before = igsref.exact_igs(model, (x, y))
    exact = draw_node_scaling_by_powers_of_two(model, generator(4), 6.0)
    assert_same_bits(before, igsref.exact_igs(exact, (x, y)))
    rounded = draw_node_scaling(model, generator(4), 6.0)
    assert_same_igs(before, igsref.exact_igs(rounded, (x, y)))


def test_igs_stays_though_a_scaling_changes_running_means():
    model, _ = network("MLP with norms", 1)
    x, y = gaussian(2, 40, 3), classes(3, 40, 3)
    scaled = draw_node_scaling_by_powers_of_two(model, generator(4), 3.0)
    assert not torch.equal(scaled[1].running_mean, model[1].running_mean)
    assert_same_igs(igsref.exact_igs(model, (x, y)), igsref.exact_igs(scaled, (x, y)))


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([], r"factors must hold one entry per group of channels, of widths \[3\]; got 0"),
        ([torch.ones(2)], r"widths \[2\]"),
        ([-torch.ones(3)], "factors must be positive and finite"),
        ([torch.zeros(3)], "factors must be positive"),
        ([torch.full((3,), float("nan"))], "factors must be positive"),
        ([torch.full((3,), float("inf"))], "factors must be positive"),
    ],
)
def test_factors_that_do_not_fit_are_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        scale_nodes(mlp(0, [2, 3, 2], nn.ReLU), factors)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (mlp(0, [2, 3, 2], nn.Tanh), r"no channels that can be scaled.*1 \(Tanh\)"),
        (mlp(0, [2, 3], nn.ReLU), "no channels that can be scaled.*an output of the network"),
        (NETWORKS["residual, module used twice"][0](), r"branch\.1 \(GELU\)"),
        (
            nn.Sequential(nn.Linear(2, 2), nn.LocalResponseNorm(1), nn.Linear(2, 2)),
            r"1 \(LocalResponseNorm\)",
        ),
    ],
)
def test_a_network_without_a_place_is_refused_and_what_is_in_the_way_named(model, message):
    assert scalable_widths(model) == []
    with pytest.raises(ValueError, match=message):
        scale_nodes(model, [])


@pytest.mark.parametrize(
    "layers",
    [
        (nn.BatchNorm2d(3), nn.ReLU()),
        (nn.Dropout(0.5), nn.ReLU()),
        (nn.RReLU(),),
    ],
)
def test_in_training_mode_the_remedy_comes_last(layers):
    model = nn.Sequential(nn.Conv2d(1, 3, 2), *layers, nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(ValueError, match=r"in training mode; .*; call model\.eval\(\)$"):
        scale_nodes(model, [])
    assert scalable_widths(model.eval())


def test_the_remedy_is_not_given_where_it_would_not_help():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(ValueError, match=r"an output of the network$"):
        scale_nodes(model, [])


def test_the_negative_control_moves_the_function():
    """Half of the scaling, which leaves out the consumers, is seen."""
    model, x = network("ResNet", 0)
    scaled = draw_node_scaling(model, generator(0), 1.0)
    scaled.head.weight.data.copy_(model.head.weight)
    with pytest.raises(AssertionError, match="times the allowance"):
        assert_same_function(model, scaled, x)
