"""Relative flatness against its definition, the closed form of a last layer, and its promise."""

import copy

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import igsref
from igsref.curvature.hessian import hessian
from igsref.measures.sharpness import petzka
from igsref.measures.sharpness.petzka import (
    maximal_relative_flatness,
    relative_flatness,
    standardized_maximal_relative_flatness,
    standardized_relative_flatness,
)
from igsref.transforms.symmetries import permute_nodes, scale_layers, scale_nodes
from tests.closeness import EPS
from tests.strategies import architecture, classes, fill_, gaussian, mlp, relu_networks

PLAIN = [relative_flatness, maximal_relative_flatness]
STANDARDIZED = [standardized_relative_flatness, standardized_maximal_relative_flatness]
ALL = pytest.mark.parametrize("measure", [*PLAIN, *STANDARDIZED])
LAYERS = pytest.mark.parametrize("layer", ["0.weight", "2.weight", "4.weight"])


def network(activation=nn.ReLU):
    model = mlp(2, [3, 5, 4, 3], activation)
    return model, (gaussian(1, 12, 3), classes(2, 12, 3))


def naive_flatness(model, data, place):
    """(κ_Tr, κ_max) by the loops of the definition, with the Hessian of the plain module."""
    weight = model[place].weight
    loss = nn.functional.cross_entropy(model(data[0]), data[1])
    (gradient,) = torch.autograd.grad(loss, weight, create_graph=True)
    w, rows, trace, largest = weight.detach(), range(len(weight)), 0.0, 0.0
    for s in rows:
        second = [torch.autograd.grad(g, weight, retain_graph=True)[0] for g in gradient[s]]
        for other in rows:
            block = torch.stack([row[other] for row in second])
            trace += float(w[s] @ w[other] * block.trace())
            if other == s:
                largest += float(w[s] @ w[s] * torch.linalg.eigvalsh(block)[-1])
    return trace, largest


def standardized(model, x, place):
    """The same function: features divided by their deviations before the layer, in the network."""
    with torch.no_grad():
        features = model[:place](x)
        sigma = features.std(dim=0, correction=0)
        scaled = copy.deepcopy(model)
        scaled[place].weight.mul_(sigma)
        divided = nn.Linear(len(sigma), len(sigma), bias=False).double()
        live = sigma > 0
        divided.weight.copy_(torch.diag(torch.where(live, 1 / sigma, 0.0)))
    return nn.Sequential(*scaled[:place], divided, *scaled[place:])


@LAYERS
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_both_are_the_loops_of_the_definition(layer, activation):
    model, data = network(activation)
    trace, largest = naive_flatness(model, data, int(layer[0]))
    # Up to 60 entries of H, each good to some hundreds of eps of the largest.
    allowed = 1e4 * EPS * max(abs(trace), largest)
    assert relative_flatness(model, data, layer=layer).value == pytest.approx(trace, abs=allowed)
    found = maximal_relative_flatness(model, data, layer=layer).value
    assert found == pytest.approx(largest, abs=allowed)


@LAYERS
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_standardized_are_those_of_the_network_with_divided_features(layer, activation):
    model, data = network(activation)
    divided = standardized(model, data[0], int(layer[0]))
    torch.testing.assert_close(divided(data[0]), model(data[0]), rtol=1e-12, atol=1e-13)
    trace, largest = naive_flatness(divided, data, int(layer[0]) + 1)
    allowed = 1e5 * EPS * max(abs(trace), largest)
    found = [measure(model, data, layer=layer).value for measure in STANDARDIZED]
    assert found == [
        pytest.approx(trace, abs=allowed),
        pytest.approx(largest, abs=allowed),
    ]


@settings(max_examples=10)
@given(network=relu_networks())
def test_trace_of_the_last_layer_has_a_closed_form(network):
    model, x, y = network
    with torch.no_grad():
        features, weight = model[:-1](x), model[-1].weight
        metric = igsref.Categorical().metric(model(x))
        inner = torch.einsum("st,nts->n", weight @ weight.mT, metric)
        expected = float((features.square().sum(dim=1) * inner).mean())
        scale = float(features.square().sum(dim=1).mean()) * float(weight.square().sum())
    found = relative_flatness(model, (x, y)).value
    assert found == pytest.approx(expected, abs=1000 * EPS * scale)


def test_a_head_registered_before_its_body_is_not_the_default_layer():
    class HeadFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.body = nn.Linear(4, 3), nn.Linear(3, 4)

        def forward(self, x):
            return self.head(torch.tanh(self.body(x)))

    model = fill_(HeadFirst().double(), 0)
    data = gaussian(1, 9, 3), classes(2, 9, 3)
    found = relative_flatness(model, data)
    assert found == relative_flatness(model, data, layer="body.weight")
    assert found != relative_flatness(model, data, layer="head.weight")


@ALL
def test_last_matrix_is_the_layer_unless_one_is_named(measure):
    model, data = network()
    assert measure(model, data).value == measure(model, data, layer="4.weight").value
    assert measure(model, data).value != measure(model, data, layer="2.weight").value


@pytest.mark.parametrize("measure", PLAIN)
@settings(max_examples=3)
@given(network=relu_networks())
def test_promise_of_layer_scaling_is_kept_without_standardization(measure, network):
    model, x, y = network
    hidden = sum(isinstance(layer, nn.Linear) for layer in model) - 1
    scaled = scale_layers(model, [2.0**13, 2.0**-20, 2.0**7][:hidden])
    for layer in (name for name, value in model.named_parameters() if value.ndim == 2):
        before = measure(model, (x, y), layer=layer).value
        # Powers of two round nothing.
        after = measure(scaled, (x, y), layer=layer).value
        assert after == pytest.approx(before, rel=1e-10, abs=1e-300)


@LAYERS
@pytest.mark.parametrize("measure", STANDARDIZED)
def test_promise_of_layer_and_node_scaling_is_kept_with_standardization(measure, layer):
    model, data = network()
    generator = torch.Generator().manual_seed(3)
    factors = [
        2.0 ** torch.randint(-20, 21, (width,), generator=generator).double() for width in (5, 4)
    ]
    before = measure(model, data, layer=layer).value
    for scaled in (scale_nodes(model, factors), scale_layers(model, [2.0**13, 2.0**-20])):
        # Powers of two round nothing.
        after = measure(scaled, data, layer=layer).value
        assert after == pytest.approx(before, rel=1e-10)


@pytest.mark.parametrize("measure", PLAIN)
def test_scaling_one_node_before_the_layer_moves_it_without_standardization(measure):
    model, data = network()
    factors = [torch.ones(5).double(), torch.tensor([8.0, 1.0, 1.0, 1.0]).double()]
    after = measure(scale_nodes(model, factors), data).value
    assert abs(after / measure(model, data).value - 1) > 0.01


@ALL
def test_permutations_leave_it_unpromised(measure):
    model, data = network()
    orders = [torch.tensor([4, 2, 0, 1, 3]), torch.tensor([3, 2, 1, 0])]
    after = measure(permute_nodes(model, orders), data).value
    assert after == pytest.approx(measure(model, data).value, rel=1e-10)


@ALL
def test_a_linear_map_of_the_layer_moves_it(measure):
    # θ = Tη for the last weight alone, T a shear of its entries: the same networks.
    model, data = network()
    shear = torch.eye(4).double() + 2 * torch.eye(4).double().roll(1, dims=1)
    theta = {name: value.detach() for name, value in model.named_parameters()}

    def function(eta, x):
        weight = eta["4.weight"] @ shear
        return torch.func.functional_call(model, {**eta, "4.weight": weight}, (x,))

    weight = theta["4.weight"] @ torch.linalg.inv(shear)
    after = measure((function, {**theta, "4.weight": weight}), data, layer="4.weight").value
    assert abs(after / measure(model, data, layer="4.weight").value - 1) > 0.01


def test_features_of_a_last_layer_are_found_in_any_model():
    model, x, y = architecture("residual, module used twice", 1, 9)
    with torch.no_grad():
        features = x
        for _ in range(2):
            features = features + model.branch(features)
    head = fill_(nn.Sequential(nn.Linear(4, 3)).double(), 0)
    head[0].load_state_dict(model.head.state_dict())
    for measure in STANDARDIZED:
        expected = measure(head, (features, y)).value
        assert measure(model, (x, y)).value == pytest.approx(expected, rel=1e4 * EPS)


@pytest.mark.parametrize("name", ["batch norm", "layer norm", "convolution"])
def test_features_of_a_sequential_network_are_those_of_its_layers(name):
    model, x, y = architecture(name, 1, 9)
    last = fill_(nn.Sequential(nn.Linear(model[-1].in_features, 3)).double(), 0)
    last[0].load_state_dict(model[-1].state_dict())
    features = model[:-1](x).detach()
    for measure in STANDARDIZED:
        expected = measure(last, (features, y)).value
        assert measure(model, (x, y)).value == pytest.approx(expected, rel=1e4 * EPS)


def with_dead_unit():
    model, data = network()
    with torch.no_grad():
        model[2].bias[1] = -100.0
    return model, data


@pytest.mark.parametrize("measure", STANDARDIZED)
def test_a_feature_that_is_nowhere_active_drops_out(measure):
    model, data = with_dead_unit()
    before = measure(model, data).value
    with torch.no_grad():
        model[4].weight[:, 1] = 77.0
    assert measure(model, data).value == pytest.approx(before, rel=1e-14)


@pytest.mark.parametrize("measure", STANDARDIZED)
def test_a_feature_with_another_constant_value_is_refused(measure):
    model, data = network()
    with torch.no_grad():
        model[2].weight[1], model[2].bias[1] = 0.0, 0.5
    with pytest.raises(ValueError, match=r"feature 1 of 4\.weight is 0\.5 on all 12 samples"):
        measure(model, data)


@ALL
def test_a_pool_has_no_part_in_it(measure):
    model, data = network()
    pooled = measure(model, data, fisher_data=gaussian(5, 4, 3)).value
    assert pooled == pytest.approx(measure(model, data).value, rel=1000 * EPS)


@ALL
def test_a_hessian_that_is_there_is_used(measure):
    problem = igsref.as_problem(*network())
    hessian(problem)
    assert measure(problem).value == pytest.approx(measure(*network()).value, rel=1000 * EPS)


@ALL
@pytest.mark.parametrize(
    ("layer", "came"),
    [
        ("4.wieght", r"there is no '4\.wieght'"),
        ("4.bias", r"'4\.bias' has shape \(3,\)"),
    ],
)
def test_a_layer_that_is_no_matrix_is_refused_with_the_names_there_are(measure, layer, came):
    known = r"The matrices are: 0\.weight, 2\.weight, 4\.weight"
    with pytest.raises(ValueError, match=f"layer must name a weight matrix.*{came}.*{known}"):
        measure(*network(), layer=layer)


@ALL
def test_a_network_without_a_matrix_is_refused(measure):
    with pytest.raises(ValueError, match=r"there is none\. The matrices are: none among 4\.bias"):
        measure(*network(), parameters="4.bias")


def hidden_in_a_pair():
    model, data = network()
    theta = {name: value.detach() for name, value in model.named_parameters()}

    def function(params, x):
        return torch.func.functional_call(model, params, (x,))

    return (function, theta), data


@pytest.mark.parametrize("measure", STANDARDIZED)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Identity])
def test_features_that_are_not_known_are_refused(measure, activation):
    # One output: nothing but the curvature tells the hidden layer from a last one.
    model = mlp(0, [3, 1, 1], activation, bias=False)

    def function(params, x):
        return torch.func.functional_call(model, params, (x,))

    pair = (function, {name: value.detach() for name, value in model.named_parameters()})
    data = (gaussian(1, 6, 3), gaussian(2, 6, 1))
    known = measure(pair, data, likelihood="gaussian", layer="2.weight").value
    expected = measure(model, data, likelihood="gaussian", layer="2.weight").value
    assert known == pytest.approx(expected, rel=1e4 * EPS)
    if activation is nn.Identity:  # linear all the way: a last layer, up to the factor behind it
        measure(pair, data, likelihood="gaussian", layer="0.weight")
        return
    with pytest.raises(ValueError, match=r"features that 0\.weight is given must be known"):
        measure(pair, data, likelihood="gaussian", layer="0.weight")


@pytest.mark.parametrize("measure", STANDARDIZED)
def test_features_behind_in_a_pair_are_refused(measure):
    pair, data = hidden_in_a_pair()
    with pytest.raises(ValueError, match=r"those of a last linear layer; it is neither"):
        measure(pair, data, layer="2.weight")


@pytest.mark.parametrize("measure", STANDARDIZED)
def test_features_with_positions_are_refused(measure):
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).double()
    data = gaussian(1, 5, 4, 3), classes(2, 5, 3)
    with pytest.raises(ValueError, match=r"shape \(N, features\), to be standardised; got \(5, 4"):
        measure(fill_(model, 0), data, layer="0.weight")


@pytest.mark.parametrize("measure", STANDARDIZED)
def test_a_model_that_was_changed_after_its_problem_was_made_is_refused(measure):
    model, x, y = architecture("batch norm", 1, 9)
    problem = igsref.as_problem(model, (x, y))
    model[1].running_mean.add_(1.0)
    with pytest.raises(ValueError, match="Was the model changed since"):
        measure(problem)


@pytest.mark.parametrize("measure", STANDARDIZED)
def test_a_layer_used_twice_is_refused(measure):
    layer = nn.Linear(3, 3)
    model = fill_(nn.Sequential(layer, nn.ReLU(), layer).double(), 0)
    with pytest.raises(ValueError, match=r"not the weight of one nn\.Linear, used once"):
        measure(model, (gaussian(1, 6, 3), classes(2, 6, 3)))


def test_promises_are_those_of_the_paper():
    for name in ("RELATIVE_FLATNESS", "MAXIMAL_RELATIVE_FLATNESS"):
        plain, standard = getattr(petzka, name), getattr(petzka, f"STANDARDIZED_{name}")
        assert plain.promised == {"layer scaling"}
        assert standard.promised == {"layer scaling", "node scaling"}
        assert plain.compute in PLAIN
        assert standard.compute in STANDARDIZED
