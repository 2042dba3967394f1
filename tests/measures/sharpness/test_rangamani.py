"""Flatness of Rangamani et al. against its definition, and its promise."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.curvature.hessian import hessian
from igsref.flat import flatten, ranges
from igsref.measures.sharpness.rangamani import (
    RANGAMANI_NORM,
    RANGAMANI_TRACE,
    rangamani_norm,
    rangamani_trace,
)
from igsref.transforms.symmetries import permute_nodes, scale_layers, scale_nodes
from tests.closeness import EPS
from tests.strategies import classes, gaussian, mlp, relu_networks

BOTH = pytest.mark.parametrize("measure", [rangamani_norm, rangamani_trace])


def network(activation=nn.ReLU):
    model = mlp(0, [3, 5, 4, 3], activation)
    return model, (gaussian(1, 12, 3), classes(2, 12, 3))


def operator(problem):
    """v ↦ (‖W_l‖² (Hv)_l), as a matrix that is not symmetric."""
    theta = problem.function.parameters
    norms = [torch.full_like(value, float(value.norm()) ** 2) for value in theta.values()]
    return torch.cat([value.flatten() for value in norms])[:, None] * hessian(problem)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_both_are_those_of_the_operator(activation):
    problem = igsref.as_problem(*network(activation))
    eigenvalues = torch.linalg.eigvals(operator(problem))
    norm = float(eigenvalues.abs().max())
    # Similar to a symmetric matrix by D^½: κ(D^½) of that is what a general solver may lose.
    sizes = [float(value.norm()) for value in problem.function.parameters.values()]
    lost = max(sizes) / min(sizes)
    allowed = 10 * len(eigenvalues) * EPS * lost * norm
    assert rangamani_norm(problem).value == pytest.approx(norm, abs=allowed)
    trace = float(eigenvalues.real.sum())
    assert rangamani_trace(problem).value == pytest.approx(trace, abs=len(eigenvalues) * allowed)


def test_the_power_method_of_the_paper_ends_at_the_norm():
    problem = igsref.as_problem(*network())
    theta = problem.function.parameters
    matrix, v = operator(problem), gaussian(7, problem.num_parameters)
    weights = flatten({k: torch.full_like(t, 1 / float(t.norm()) ** 2) for k, t in theta.items()})
    for _ in range(2000):
        v = matrix @ v
        v = v / (v * v * weights).sum().sqrt()
    # Converged to rounding: the ratio of the two largest eigenvalues, to the 2 · 2000.
    found = float((v * (matrix @ v) * weights).sum())
    assert rangamani_norm(problem).value == pytest.approx(abs(found), rel=1e-9)


@BOTH
@settings(max_examples=10)
@given(network=relu_networks(), powers=st.lists(st.integers(-20, 20), min_size=3, max_size=3))
def test_promise_of_layer_scaling_is_kept(measure, network, powers):
    model, x, y = network
    hidden = sum(isinstance(layer, nn.Linear) for layer in model) - 1
    scaled = scale_layers(model, [2.0**power for power in powers[:hidden]])
    before = measure(model, (x, y)).value
    # Powers of two round nothing.
    assert measure(scaled, (x, y)).value == pytest.approx(before, rel=1e-10, abs=1e-300)


@BOTH
def test_permutations_leave_it_unpromised(measure):
    model, data = network()
    orders = [torch.tensor([4, 2, 0, 1, 3]), torch.tensor([3, 2, 1, 0])]
    after = measure(permute_nodes(model, orders), data).value
    assert after == pytest.approx(measure(model, data).value, rel=1e-10)


@BOTH
def test_scaling_one_node_moves_it(measure):
    model, data = network()
    factors = [torch.tensor([8.0, 1.0, 1.0, 1.0, 1.0]).double(), torch.ones(4).double()]
    after = measure(scale_nodes(model, factors), data).value
    assert abs(after / measure(model, data).value - 1) > 0.01


def test_norm_is_the_size_of_a_negative_eigenvalue():
    def function(p, x):
        return torch.stack([torch.zeros_like(x[:, 0]), x[:, 0] - p["a"].square().sum()], dim=1)

    # l = log(1 + exp f), f = x − a² = 0 at a = ½, x = ¼: l'' = ¼·(2a)² − ½·2 = −¾, times a² = ¼.
    model = (function, {"a": torch.tensor([0.5]).double()})
    data = (torch.tensor([[0.25]]), torch.tensor([0]))
    assert rangamani_norm(model, data).value == pytest.approx(0.1875, rel=100 * EPS)
    assert rangamani_trace(model, data).value == pytest.approx(-0.1875, rel=100 * EPS)


@BOTH
def test_a_tensor_of_zeros_is_refused_by_its_name(measure):
    model, data = network()
    nn.init.zeros_(model[2].bias)
    with pytest.raises(ValueError, match=r"metric divides by; 2\.bias is zero\. Leave it out"):
        measure(model, data)
    assert measure(model, data, parameters="*weight").value > 0


@BOTH
def test_a_pool_has_no_part_in_it(measure):
    model, data = network()
    pooled = measure(model, data, fisher_data=gaussian(5, 4, 3))
    assert pooled.value == pytest.approx(measure(model, data).value, rel=1000 * EPS)


@BOTH
def test_what_does_not_fit_is_refused_with_the_sizes(measure):
    model, data = network()
    with pytest.raises(MemoryError, match=r"59 × 59 entries"):
        measure(model, data, memory=1000)


def test_every_bias_is_a_tensor_of_its_own():
    problem = igsref.as_problem(*network())
    diagonal, total = hessian(problem).diagonal(), 0.0
    for name, place in ranges(problem.function.parameters).items():
        size = float(problem.function.parameters[name].norm())
        total += size**2 * float(diagonal[place].sum())
    assert rangamani_trace(problem).value == pytest.approx(total, rel=1000 * EPS)


def test_scaling_of_layers_is_promised():
    assert RANGAMANI_NORM.promised == RANGAMANI_TRACE.promised == {"layer scaling"}
    assert (RANGAMANI_NORM.compute, RANGAMANI_TRACE.compute) == (rangamani_norm, rangamani_trace)
