"""Trace and largest eigenvalue of the Hessian."""

import pytest
import torch
from torch import nn

import igsref
from igsref.measures.sharpness.hessian_norms import (
    HESSIAN_NORM,
    HESSIAN_TRACE,
    hessian_norm,
    hessian_trace,
)
from igsref.transforms.symmetries import permute_nodes, scale_layers
from tests.closeness import EPS
from tests.strategies import classes, gaussian, mlp

BOTH = pytest.mark.parametrize("measure", [hessian_trace, hessian_norm])


def network(activation=nn.ReLU, *, bias=True):
    model = mlp(0, [3, 5, 4, 3], activation, bias=bias)
    return model, (gaussian(1, 12, 3), classes(2, 12, 3))


def naive_eigenvalues(model, data):
    theta = list(model.parameters())
    loss = nn.functional.cross_entropy(model(data[0]), data[1])
    gradient = torch.autograd.grad(loss, theta, create_graph=True)
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(entry, theta, retain_graph=True)])
        for entry in torch.cat([g.flatten() for g in gradient])
    ]
    # LAPACK reads one triangle of the matrix.
    return torch.linalg.eigvalsh(torch.stack(rows))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_both_are_those_of_the_eigenvalues_of_the_plain_module(activation):
    model, data = network(activation)
    expected = naive_eigenvalues(model, data)
    # Eigenvalues are known to some eps of the largest, here as many as there are.
    allowed = 10 * len(expected) * EPS * float(expected.abs().max())
    norm, trace = hessian_norm(model, data), hessian_trace(model, data)
    assert norm.value == pytest.approx(float(expected[-1]), abs=allowed)
    assert trace.value == pytest.approx(float(expected.sum()), abs=len(expected) * allowed)
    assert norm.kind == trace.kind == "computed"


def test_trace_of_a_relu_network_is_that_of_its_fisher_matrix():
    model, data = network()
    expected = float(igsref.fisher(model, data).trace())
    # Both sum the same non-negative terms, of some hundreds of roundings each.
    assert hessian_trace(model, data).value == pytest.approx(expected, rel=1000 * EPS)


def test_trace_of_a_tanh_network_is_another():
    model, data = network(nn.Tanh)
    expected = float(igsref.fisher(model, data).trace())
    assert abs(hessian_trace(model, data).value / expected - 1) > 0.01


def test_the_largest_eigenvalue_has_its_sign():
    def function(p, x):
        return torch.stack([torch.zeros_like(x[:, 0]), x[:, 0] - p["a"].square().sum()], dim=1)

    model = (function, {"a": torch.zeros(2).double()})
    measured = hessian_norm(model, (torch.zeros(1, 1), torch.tensor([0])))
    # l = log(1 + exp f), f = −|a|²: ∂²l/∂a² = σ(0)·(−2) = −1 at a = 0.
    assert measured.value == pytest.approx(-1.0, rel=10 * EPS)


@BOTH
def test_permutations_of_units_leave_it(measure):
    model, data = network()
    orders = [torch.tensor([4, 2, 0, 1, 3]), torch.tensor([3, 2, 1, 0])]
    after = measure(permute_nodes(model, orders), data)
    assert after.value == pytest.approx(measure(model, data).value, rel=1e-10)


@BOTH
def test_scaling_a_layer_moves_it(measure):
    model, data = network()
    after = measure(scale_layers(model, [4.0, 1.0]), data)
    assert abs(after.value / measure(model, data).value - 1) > 0.01


@BOTH
def test_a_pool_has_no_part_in_it(measure):
    model, data = network()
    pooled = measure(model, data, fisher_data=gaussian(5, 4, 3))
    assert pooled.value == pytest.approx(measure(model, data).value, rel=100 * EPS)


@BOTH
def test_a_problem_stands_for_model_and_data(measure):
    model, data = network()
    problem = igsref.as_problem(model, data)
    assert measure(problem).value == measure(igsref.as_geometry(problem)).value
    with pytest.raises(TypeError, match="already holds its data"):
        measure(problem, data)


@pytest.mark.parametrize(
    "measure, instead",
    [(hessian_trace, "igsref.curvature_trace"), (hessian_norm, "igsref.top_eigenpairs")],
)
def test_what_does_not_fit_is_refused_with_the_sizes_and_what_would_do_it(measure, instead):
    model, data = network()
    with pytest.raises(MemoryError, match=rf"59 × 59 entries.*1000 B is there.*; {instead}\("):
        measure(model, data, memory=1000)


def test_what_the_errors_name_does_it():
    model, data = network(nn.Tanh)
    norm = hessian_norm(model, data).value
    pairs = igsref.top_eigenpairs(model, data, k=1, of="hessian")
    # An eigenvalue is as near as its residual, 1e-8 of it.
    assert float(pairs.eigenvalues) == pytest.approx(norm, rel=1e-8)
    trace = igsref.curvature_trace(model, data, of="hessian")  # as many products as parameters
    assert trace.value == pytest.approx(hessian_trace(model, data).value, rel=1e-12)


def test_nothing_is_promised():
    assert not HESSIAN_TRACE.promised | HESSIAN_NORM.promised
    assert (HESSIAN_TRACE.compute, HESSIAN_NORM.compute) == (hessian_trace, hessian_norm)
