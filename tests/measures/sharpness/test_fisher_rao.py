"""The Fisher–Rao norm against the dense matrix, the paper's closed form, and its promise."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.curvature.factor import gradients
from igsref.curvature.loss import parameter_vector
from igsref.flat import flatten, unflatten
from igsref.measures.sharpness.fisher_rao import (
    EMPIRICAL_FISHER_RAO,
    FISHER_RAO,
    empirical_fisher_rao_norm,
    fisher_rao_norm,
)
from igsref.transforms.symmetries import permute_nodes, scale_layers, scale_nodes
from tests.closeness import EPS
from tests.strategies import SEEDS, classes, gaussian, mlp, relu_networks

BOTH = pytest.mark.parametrize("measure", [fisher_rao_norm, empirical_fisher_rao_norm])


def network(activation=nn.ReLU, *, bias=True):
    model = mlp(0, [3, 5, 4, 3], activation, bias=bias)
    return model, (gaussian(1, 12, 3), classes(2, 12, 3))


def size(problem):
    """Σ_i (Σ_j |J_ij θ_j|)²-like scale that rounding in θᵀFθ is a share of."""
    theta = parameter_vector(problem).abs()
    return float(theta @ igsref.fisher(problem).abs() @ theta)


@settings(max_examples=15)
@given(network=relu_networks())
def test_both_are_quadratic_forms_of_the_dense_matrices(network):
    model, x, y = network
    problem = igsref.as_problem(model, (x, y))
    theta, g = parameter_vector(problem), gradients(problem)
    true = float(theta @ igsref.fisher(problem) @ theta)
    empirical = float(theta @ (g.mT @ g / len(g)) @ theta)
    allowed = 200 * EPS * (size(problem) + float((g.abs() @ theta.abs()).square().mean()))
    assert fisher_rao_norm(problem).value == pytest.approx(true, abs=allowed)
    assert empirical_fisher_rao_norm(problem).value == pytest.approx(empirical, abs=allowed)


@settings(max_examples=15)
@given(seed=SEEDS, hidden=st.lists(st.integers(2, 5), max_size=3))
def test_closed_forms_hold_without_biases(seed, hidden):
    model = mlp(seed, [3, *hidden, 3], nn.ReLU, bias=False)
    x, y = gaussian(seed + 1, 9, 3), classes(seed + 2, 9, 3)
    f = model(x).detach()
    p = f.softmax(dim=1)
    distance = (p * f).sum(dim=1, keepdim=True) - f
    depth = len(hidden) + 1
    true = depth**2 * float((p * distance.square()).sum(dim=1).mean())
    empirical = depth**2 * float(distance.gather(1, y[:, None]).square().mean())
    # Differences of logits as large as f, squared, with the roundings of some tens of operations.
    allowed = 1000 * EPS * depth**2 * (1 + float(f.abs().max()) ** 2)
    assert fisher_rao_norm(model, (x, y)).value == pytest.approx(true, abs=allowed)
    assert empirical_fisher_rao_norm(model, (x, y)).value == pytest.approx(empirical, abs=allowed)


def test_the_closed_form_is_another_number_where_there_are_biases():
    model, (x, y) = network()
    f = model(x).detach()
    p = f.softmax(dim=1)
    distance = (p * f).sum(dim=1, keepdim=True) - f
    closed = 9 * float((p * distance.square()).sum(dim=1).mean())
    assert abs(fisher_rao_norm(model, (x, y)).value / closed - 1) > 0.01


@BOTH
@settings(max_examples=10)
@given(network=relu_networks(), seed=SEEDS)
def test_promise_of_node_scaling_is_kept(measure, network, seed):
    model, x, y = network
    generator = torch.Generator().manual_seed(seed)
    factors = [
        2.0 ** torch.randint(-20, 21, (layer.out_features,), generator=generator).double()
        for layer in model
        if isinstance(layer, nn.Linear)
    ][:-1]
    after = measure(scale_nodes(model, factors), (x, y)).value
    # Powers of two round nothing.
    assert after == pytest.approx(measure(model, (x, y)).value, rel=1e-10, abs=1e-300)


@BOTH
def test_promise_of_layer_scaling_is_kept(measure):
    model, data = network()
    after = measure(scale_layers(model, [2.0**20, 2.0**-13]), data).value
    assert after == pytest.approx(measure(model, data).value, rel=1e-10)


@BOTH
def test_permutations_and_linear_maps_leave_it_unpromised(measure):
    model, data = network()
    before = measure(model, data).value
    orders = [torch.tensor([4, 2, 0, 1, 3]), torch.tensor([3, 2, 1, 0])]
    assert measure(permute_nodes(model, orders), data).value == pytest.approx(before, rel=1e-10)
    m = sum(value.numel() for value in model.parameters())
    matrix = torch.eye(m).double() + 0.5 * gaussian(4, m, m) / m**0.5
    condition = float(torch.linalg.cond(matrix))
    theta = {name: value.detach() for name, value in model.named_parameters()}

    def function(params, x):
        mapped = unflatten(matrix @ params["eta"], theta)
        return torch.func.functional_call(model, mapped, (x,))

    eta = torch.linalg.solve(matrix, flatten(theta))
    after = measure((function, {"eta": eta}), data).value
    # θ = Tη is solved for and multiplied out again: m·eps·κ(T) of it, squared in the form.
    assert after == pytest.approx(before, rel=10 * m * EPS * condition)


@BOTH
def test_a_shift_of_the_coordinates_moves_it(measure):
    model, data = network()
    theta = dict(model.named_parameters())
    moved = {name: value.detach() - 1 for name, value in theta.items()}

    def shifted(params, x):
        return torch.func.functional_call(model, {k: v + 1 for k, v in params.items()}, (x,))

    assert torch.allclose(shifted(moved, data[0]), model(data[0]))
    assert abs(measure((shifted, moved), data).value / measure(model, data).value - 1) > 0.01


def test_the_true_one_is_a_mean_over_the_pool_and_knows_no_labels():
    model, (x, y) = network()
    pool = gaussian(5, 20, 3)
    everything = torch.cat([pool, x])
    expected = fisher_rao_norm(model, (everything, classes(8, len(everything), 3))).value
    pooled = fisher_rao_norm(model, (x, y), fisher_data=pool).value
    assert pooled == pytest.approx(expected, rel=100 * EPS)
    assert abs(pooled / fisher_rao_norm(model, (x, y)).value - 1) > 0.01


def test_the_empirical_one_knows_labels_and_no_pool():
    model, (x, y) = network()
    before = empirical_fisher_rao_norm(model, (x, y)).value
    pooled = empirical_fisher_rao_norm(model, (x, y), fisher_data=gaussian(5, 20, 3)).value
    assert pooled == pytest.approx(before, rel=100 * EPS)
    assert abs(empirical_fisher_rao_norm(model, (x, (y + 1) % 3)).value / before - 1) > 0.01


def test_many_samples_are_those_of_few(monkeypatch):
    model, data = network()
    before = fisher_rao_norm(model, data).value
    monkeypatch.setattr("igsref.measures.sharpness.fisher_rao.chunk_size", lambda size: 5)
    assert fisher_rao_norm(model, data).value == pytest.approx(before, rel=100 * EPS)


def test_scaling_of_layers_and_nodes_is_promised():
    assert FISHER_RAO.promised == EMPIRICAL_FISHER_RAO.promised == {"layer scaling", "node scaling"}
    assert FISHER_RAO.compute is fisher_rao_norm
    assert EMPIRICAL_FISHER_RAO.compute is empirical_fisher_rao_norm
