"""The zoo: deterministic, well-formed, and each kind what its name says."""

import functools

import pytest
import torch
from torch import nn

from verification.networks import (
    ACTIVATIONS,
    EXTREME_KINDS,
    KINDS,
    KINK_DISTANCE,
    LOWEST,
    as_lists,
    draw_network,
    hidden_layers,
    kink_distance,
    linear_layers,
)
from verification.oracle import class_probabilities, logits_and_jacobian, to_float, truth

SEEDS = range(8)
ALL_KINDS = KINDS + EXTREME_KINDS


@functools.cache
def networks(kind):
    return [draw_network(kind, seed) for seed in SEEDS]


@torch.no_grad()
def probabilities(network):
    return network.model(network.inputs).softmax(dim=1)


def label_probabilities(network):
    return probabilities(network).gather(1, network.labels[:, None])[:, 0]


def parameters(network):
    return [parameter.detach() for parameter in network.model.parameters()]


def assert_same(left, right):
    tensors = zip(
        [*parameters(left), left.inputs, left.labels],
        [*parameters(right), right.inputs, right.labels],
        strict=True,
    )
    assert all(torch.equal(a, b) for a, b in tensors)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_network_is_a_function_of_kind_and_seed(kind):
    first = draw_network(kind, 3)
    torch.manual_seed(12345)
    torch.rand(7)
    assert_same(first, draw_network(kind, 3))


def test_seeds_and_kinds_give_different_networks():
    inputs = [draw_network(kind, seed).inputs for kind in ALL_KINDS for seed in (0, 1)]
    different = [
        a.shape != b.shape or not torch.equal(a, b)
        for i, a in enumerate(inputs)
        for b in inputs[:i]
    ]
    assert all(different)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_global_random_state_is_left_alone(kind):
    before = torch.get_rng_state()
    draw_network(kind, 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_networks_are_small_float64_classifiers_of_the_announced_sizes(kind):
    for network in networks(kind):
        layers = linear_layers(network.model)
        widths = [layers[0].in_features] + [layer.out_features for layer in layers]
        assert min(widths) >= 2
        assert max(widths) <= 8
        assert 2 <= widths[-1] <= 5
        assert 3 <= len(network.inputs) <= 24
        assert network.inputs.shape == (len(network.labels), widths[0])
        assert {t.dtype for t in [network.inputs, *parameters(network)]} == {torch.float64}
        assert network.labels.dtype == torch.int64
        assert int(network.labels.min()) >= 0
        assert int(network.labels.max()) < widths[-1]
        assert not any(parameter.grad is not None for parameter in network.model.parameters())


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_no_probability_is_below_what_the_kind_allows(kind):
    lowest = {"confident": 1e-14, "extreme": 1e-100}.get(kind, 1e-12)
    assert LOWEST[kind] == lowest
    assert min(float(probabilities(network).min()) for network in networks(kind)) > lowest


def test_networks_that_were_too_sure_are_tempered_to_four_times_the_limit():
    drawn = networks("dead") + networks("badly-scaled")
    lowest = [float(probabilities(network).min()) for network in drawn]
    tempered = [p for p in lowest if p == pytest.approx(4e-12, rel=1e-6)]
    assert 0 < len(tempered) < len(drawn)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_pre_activations_stay_off_the_kink(kind):
    assert min(kink_distance(network) for network in networks(kind)) > KINK_DISTANCE


def test_the_distance_from_the_kink_is_relative_to_the_terms_of_the_sum():
    network = draw_network("dead", 0)
    layer = linear_layers(network.model)[0]
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, 0] = 1.0
        layer.bias.fill_(-network.inputs[0, 0] * (1.0 - 2e-7))
    assert kink_distance(network) == pytest.approx(1e-7, rel=1e-4)


def test_smooth_networks_have_no_kink():
    smooth = [n for n in networks("trained") if isinstance(n.model[1], nn.Tanh)]
    assert smooth
    assert all(kink_distance(network) == float("inf") for network in smooth)


def mean_accuracy(kind):
    correct = [n.model(n.inputs).argmax(dim=1) == n.labels for n in networks(kind)]
    return sum(float(hits.double().mean()) for hits in correct) / len(correct)


def test_trained_networks_fit_most_of_their_samples():
    assert mean_accuracy("trained") > 0.8


def test_rank_deficient_networks_miss_rows_and_parameters():
    for network in networks("rank-deficient"):
        rows = len(network.labels) * (network.model[-1].out_features - 1)
        size = sum(parameter.numel() for parameter in parameters(network))
        assert truth(*as_lists(network)).rank < min(rows, size)


def test_rank_deficiency_comes_from_twins_silent_units_flat_inputs_and_many_rows():
    causes = [causes_of_deficiency(network) for network in networks("rank-deficient")]
    assert all(any(present) for present in causes)
    assert all(any(present) for present in zip(*causes, strict=True))


def causes_of_deficiency(network):
    """Whether unit 1 is a twin of unit 0, unit 0 is silent, inputs have rank 1, a column is 0,
    and the rows outnumber the parameters."""
    lower, upper = (layer.weight.detach() for layer in linear_layers(network.model))
    rows = len(network.labels) * (len(upper) - 1)
    return (
        torch.equal(lower[0], lower[1]),
        not upper[:, 0].any(),
        int(torch.linalg.matrix_rank(network.inputs)) == 1,
        not network.inputs[:, -1].any(),
        rows > sum(parameter.numel() for parameter in parameters(network)),
    )


def test_duplicated_networks_repeat_inputs_with_equal_and_with_other_labels():
    same = other = 0
    for network in networks("duplicated"):
        equal = (network.inputs[:, None] == network.inputs[None]).all(dim=2)
        pairs = equal.triu(diagonal=1).nonzero()
        assert len(pairs) > 0
        agreeing = network.labels[pairs[:, 0]] == network.labels[pairs[:, 1]]
        same, other = same + int(agreeing.sum()), other + int((~agreeing).sum())
    assert same > 0
    assert other > 0


@torch.no_grad()
def test_dead_networks_have_units_that_never_change_side():
    active = inactive = 0
    for network in networks("dead"):
        for layer, values in hidden_layers(network.model, network.inputs):
            positive = layer(values) > 0
            assert bool((positive.all(dim=0) | (~positive).all(dim=0)).any())
            active += int(positive.all(dim=0).sum())
            inactive += int((~positive).all(dim=0).sum())
    assert active > 0
    assert inactive > 0


def test_badly_scaled_networks_spread_over_many_magnitudes():
    for network in networks("badly-scaled"):
        norms = torch.cat(
            [layer.weight.detach().norm(dim=1) for layer in linear_layers(network.model)[:-1]]
        )
        assert float(norms.max() / norms.min()) > 1e3


def test_badly_scaled_networks_still_fit_since_scaling_keeps_the_function():
    assert mean_accuracy("badly-scaled") > 0.8


def test_confident_networks_have_probabilities_below_1e_minus_12_and_no_wrong_sample():
    for network in networks("confident"):
        assert float(probabilities(network).min()) < 1e-12
        assert float(label_probabilities(network).min()) >= 0.2
    certain = [1.0 - float(label_probabilities(network).max()) for network in networks("confident")]
    assert min(certain) < 1e-12


def test_misclassified_networks_have_label_probabilities_down_to_1e_minus_8():
    lowest = [float(label_probabilities(network).min()) for network in networks("misclassified")]
    assert max(lowest) <= 1.01e-8
    assert min(lowest) < 1e-10


def test_extreme_networks_have_probabilities_down_to_1e_minus_20():
    lowest = [float(probabilities(network).min()) for network in networks("extreme")]
    assert max(lowest) <= 1.01e-20


def test_every_activation_and_the_missing_bias_occur():
    drawn = [network for kind in ALL_KINDS for network in networks(kind)]
    assert {type(network.model[1]) for network in drawn} == set(ACTIVATIONS)
    assert any(network.model[0].bias is None for network in drawn)


@pytest.mark.parametrize("kind", ALL_KINDS)
@torch.no_grad()
def test_the_lists_describe_the_same_function(kind):
    for network in networks(kind)[:3]:
        layers, activation, inputs, labels = as_lists(network)
        for row, expected in zip(inputs, network.model(network.inputs), strict=True):
            logits, jacobian = logits_and_jacobian(layers, activation, row)
            got = torch.tensor([to_float(f) for f in logits], dtype=torch.float64)
            torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)
        assert len(jacobian[0]) == sum(p.numel() for p in parameters(network))
        assert labels == network.labels.tolist()


def test_exact_probabilities_of_confident_networks_confirm_the_float_ones():
    layers, activation, inputs, _ = as_lists(draw_network("confident", 0))
    exact = class_probabilities(layers, activation, inputs)
    assert min(to_float(p) for row in exact for p in row) == pytest.approx(
        float(probabilities(draw_network("confident", 0)).min()), rel=1e-6
    )


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"kind must be one of .*'trained'.*; got 'odd'"):
        draw_network("odd", 0)
