"""Worst-case sharpness: known maxima, what rescaling does to it, seeds, refusals."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import igsref
from igsref.curvature.loss import loss_of_vector, parameter_vector
from igsref.measures.measurement import Measurement
from igsref.measures.sharpness.neighbourhood import loss_rise
from igsref.measures.sharpness.worst_case import (
    ADAPTIVE_WORST_CASE_LINF_SHARPNESS,
    ADAPTIVE_WORST_CASE_SHARPNESS,
    WORST_CASE_LINF_SHARPNESS,
    WORST_CASE_SHARPNESS,
    _checkpoints,
    adaptive_worst_case_linf_sharpness,
    adaptive_worst_case_sharpness,
    worst_case_linf_sharpness,
    worst_case_sharpness,
)
from igsref.transforms.symmetries import hidden_widths, scale_layers, scale_nodes
from tests.closeness import EPS
from tests.random_states import draws, states
from tests.strategies import SEEDS, architecture, classes, fill_, gaussian, mlp, relu_networks

PLAIN = [WORST_CASE_SHARPNESS, WORST_CASE_LINF_SHARPNESS]
ADAPTIVE = [ADAPTIVE_WORST_CASE_SHARPNESS, ADAPTIVE_WORST_CASE_LINF_SHARPNESS]
BRIEF = {"starts": 2, "iterations": 10}


def two_parameters() -> igsref.Problem:
    """A logistic regression of two weights: the loss is convex."""
    model = fill_(nn.Linear(2, 1, bias=False).double(), 3)
    data = gaussian(1, 12, 2), classes(2, 12, 2).double()
    return igsref.as_problem(model, data, likelihood="bernoulli")


@pytest.mark.parametrize("rho", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("adaptive", [False, True])
def test_the_largest_rise_of_a_convex_loss_is_on_the_circle(rho, adaptive):
    problem = two_parameters()
    scale = parameter_vector(problem).abs() if adaptive else torch.ones(2).double()
    count = 20_000
    angles = torch.arange(count).double() * (2 * math.pi / count)
    steps = rho * scale * torch.stack([angles.cos(), angles.sin()], dim=1)
    grid = float(torch.func.vmap(loss_rise(problem))(steps).max())
    measure = adaptive_worst_case_sharpness if adaptive else worst_case_sharpness
    found = measure(problem, rho=rho)
    # Between two angles of the grid the maximum is off by at most half the second derivative in
    # the angle, below r‖x‖ + (r‖x‖)²/4 with r the largest radius, times half a spacing squared.
    reach = rho * float(scale.max()) * float(problem.samples.args[0].norm(dim=1).max())
    off = (reach + reach**2 / 4) / 2 * (math.pi / count) ** 2
    assert grid - 64 * EPS * (1 + grid) <= found.value <= grid + off
    # The search itself is as good as the grid: it converges to where the gradient is radial.
    assert found.uncertainty <= 1e-6 * found.value + (found.uncertainty if rho > 1 else 0)


@pytest.mark.parametrize("rho", [0.001, 0.2])
@pytest.mark.parametrize("adaptive", [False, True])
def test_the_largest_rise_of_a_convex_loss_is_at_a_corner_of_the_cube(rho, adaptive):
    problem = two_parameters()
    scale = parameter_vector(problem).abs() if adaptive else torch.ones(2).double()
    rise = loss_rise(problem)
    corners = [
        float(rise(rho * scale * torch.tensor(signs).double()))
        for signs in itertools.product([-1.0, 1.0], repeat=2)
    ]
    measure = adaptive_worst_case_linf_sharpness if adaptive else worst_case_linf_sharpness
    # Rises are differences of losses near 1, each good to some 32 eps.
    assert measure(problem, rho=rho).value == pytest.approx(max(corners), abs=64 * EPS)


def test_a_quadratic_minimum_has_half_the_largest_eigenvalue():
    x = gaussian(1, 12, 3) * torch.tensor([1.0, 2.0, 4.0]).double()
    model = fill_(nn.Linear(3, 1, bias=False).double(), 0)
    y = model(x).detach()
    problem = igsref.as_problem(model, (x, y), likelihood="gaussian")
    hessian = torch.func.hessian(loss_of_vector(problem))(parameter_vector(problem))
    expected = float(torch.linalg.eigvalsh(hessian)[-1]) * 0.3**2 / 2
    found = worst_case_sharpness(problem, rho=0.3)
    # At θ the gradient is 0: only drawn starts leave it. A bound from below, tight to a millionth.
    assert expected * (1 - 1e-6) <= found.value <= expected * (1 + 64 * EPS)
    assert worst_case_sharpness(problem, rho=0.3, starts=1).value <= 64 * EPS


def test_no_drawn_point_is_higher():
    model, x, y = mlp(0, [3, 5, 4, 3], nn.ReLU), gaussian(1, 20, 3), classes(2, 20, 3)
    problem = igsref.as_problem(model, (x, y))
    rise, found = loss_rise(problem), worst_case_sharpness(problem, rho=0.3).value
    steps = gaussian(3, 300, problem.num_parameters)
    steps = 0.3 * steps / steps.norm(dim=1, keepdim=True)
    assert float(torch.func.vmap(rise)(steps).max()) < found


def powers(model: nn.Sequential, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        2.0 ** torch.randint(-20, 21, (width,), generator=generator).double()
        for width in hidden_widths(model)
    ]


@settings(max_examples=6, deadline=None)
@given(network=relu_networks(), seed=SEEDS, measure=st.sampled_from(ADAPTIVE))
def test_node_scaling_by_powers_of_two_changes_no_bit_of_the_adaptive_ones(network, seed, measure):
    model, x, y = network
    scaled = scale_nodes(model, powers(model, seed))
    before = measure.compute(model, (x, y), **BRIEF)
    assert measure.compute(scaled, (x, y), **BRIEF) == before
    assert "node scaling" in measure.promised


@pytest.mark.parametrize("measure", ADAPTIVE)
def test_any_diagonal_of_powers_of_two_changes_no_bit_of_the_adaptive_ones(measure):
    model, x, y = architecture("MLP with tanh", 0, 6)
    theta = {name: value.detach() for name, value in model.named_parameters()}
    scale = {
        name: 2.0 ** (8 * gaussian(seed, *value.shape)).round()
        for seed, (name, value) in enumerate(theta.items())
    }

    def function(eta: dict[str, Tensor], x: Tensor) -> Tensor:
        values = {name: scale[name] * value for name, value in eta.items()}
        return torch.func.functional_call(model, values, (x,))

    eta = {name: value / scale[name] for name, value in theta.items()}
    before = measure.compute(model, (x, y), **BRIEF)
    assert measure.compute((function, eta), (x, y), **BRIEF) == before
    assert "diagonal" in measure.promised


@pytest.mark.parametrize("measure", PLAIN)
def test_layer_scaling_moves_the_plain_ones(measure):
    model, x, y = mlp(0, [3, 4, 3], nn.ReLU), gaussian(1, 9, 3), classes(2, 9, 3)
    before, after = (
        measure.compute(net, (x, y), **BRIEF).value for net in (model, scale_layers(model, [16.0]))
    )
    assert abs(after / before - 1) > 0.01
    assert measure.promised == frozenset()


def test_a_parameter_that_is_zero_stays_zero_in_the_adaptive_ones():
    model, x, y = mlp(0, [2, 2], nn.ReLU, bias=False), gaussian(1, 6, 2), classes(2, 6, 2)
    with torch.no_grad():
        model[0].weight.zero_()
    assert adaptive_worst_case_sharpness(model, (x, y), **BRIEF) == Measurement(
        0.0, 0.0, "maximised"
    )
    assert worst_case_sharpness(model, (x, y), **BRIEF).value > 0


@pytest.mark.parametrize("measure", [*PLAIN, *ADAPTIVE])
def test_the_seed_alone_decides(measure):
    model, x, y = architecture("MLP with tanh", 0, 6)
    problem = igsref.as_problem(model, (x, y))
    few = {"rho": 0.5, "starts": 3, "iterations": 3}
    first = measure.compute(problem, seed=1, **few)
    draws()
    before = states()
    assert measure.compute(problem, seed=1, **few) == first
    # The first is Python's, which beartype draws from where it checks arguments.
    assert states()[1:] == before[1:]
    assert measure.compute(problem, seed=2, **few) != first


def test_steps_are_reviewed_where_auto_pgd_reviews_them():
    # p = 0, .22, .41, .57, .70, .80, .87, .93, .99, each gap .03 less and at least .06.
    assert sorted(_checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rho": 0.0}, ValueError, "rho must be positive and finite"),
        ({"rho": math.nan}, ValueError, "rho must be positive and finite"),
        ({"rho": 1e300}, ValueError, "rho must be so small that the loss is finite"),
        ({"starts": 0}, ValueError, "starts must be at least 1; got 0"),
        ({"iterations": 0}, ValueError, "iterations must be at least 1; got 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"colour": 1}, TypeError, "unknown option 'colour'"),
    ],
)
def test_bad_input_is_refused(options, error, message):
    model, x, y = mlp(0, [2, 3, 2], nn.ReLU), gaussian(1, 4, 2), classes(2, 4, 2)
    for measure in (*PLAIN, *ADAPTIVE):
        with pytest.raises(error, match=message):
            measure.compute(model, (x, y), **(BRIEF | options))
