"""Average-case sharpness: its limit, its standard error, what rescaling does, refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.curvature.loss import loss_of_vector, parameter_vector
from igsref.measures.sharpness.average_case import (
    ADAPTIVE_AVERAGE_CASE_SHARPNESS,
    AVERAGE_CASE_SHARPNESS,
    adaptive_average_case_sharpness,
    average_case_sharpness,
)
from igsref.transforms.symmetries import hidden_widths, scale_layers, scale_nodes
from tests.closeness import EPS
from tests.random_states import draws, states
from tests.strategies import SEEDS, architecture, classes, fill_, gaussian, mlp, relu_networks

BOTH = [AVERAGE_CASE_SHARPNESS, ADAPTIVE_AVERAGE_CASE_SHARPNESS]


def second_order(problem: igsref.Problem, *, adaptive: bool) -> float:
    """½ Tr H, or ½ Σ w_k² H_kk."""
    theta = parameter_vector(problem)
    diagonal = torch.func.hessian(loss_of_vector(problem))(theta).diagonal()
    return float((diagonal * (theta.square() if adaptive else 1)).sum()) / 2


@pytest.mark.parametrize("adaptive", [False, True])
def test_small_noise_gives_half_the_trace(adaptive):
    problem = igsref.as_problem(*_smooth())
    measure = adaptive_average_case_sharpness if adaptive else average_case_sharpness
    rho = 2.0**-6
    whole, half = (measure(problem, rho=r, pairs=600) for r in (rho, rho / 2))
    limit = second_order(problem, adaptive=adaptive) * rho**2
    # The same draws at ρ and ρ/2: aρ² + bρ⁴ + …, so that 4·half − whole = −¾bρ⁴, and twice that
    # is more than all the higher orders; then five standard errors and losses good to 64 eps.
    allowance = 2 * abs(4 * half.value - whole.value) + 5 * whole.uncertainty + 64 * EPS
    assert abs(whole.value - limit) <= allowance
    assert allowance < abs(limit) / 3


def _smooth():
    model, x, y = architecture("MLP with tanh", 0, 8)
    return model, (x, y)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_quadratic_loss_has_its_limit_at_any_radius(adaptive):
    model = fill_(nn.Linear(3, 2).double(), 0)
    data = gaussian(1, 12, 3), gaussian(2, 12, 2)
    problem = igsref.as_problem(model, data, likelihood="gaussian")
    measure = adaptive_average_case_sharpness if adaptive else average_case_sharpness
    found = measure(problem, rho=2.0, pairs=500)
    expected = second_order(problem, adaptive=adaptive) * 2.0**2
    # Five standard errors: a false alarm once in two million seeds, and the seed is fixed.
    assert abs(found.value - expected) < 5 * found.uncertainty < 0.5 * expected
    assert found.kind == "sampled"


@pytest.mark.parametrize("measure", BOTH)
def test_the_standard_error_is_that_of_the_spread_over_seeds(measure):
    problem = igsref.as_problem(*_smooth())
    runs = [measure.compute(problem, rho=0.3, pairs=30, seed=seed) for seed in range(20)]
    spread = float(torch.tensor([run.value for run in runs]).std())
    claimed = sum(run.uncertainty for run in runs) / len(runs)
    # A standard deviation of 20 numbers is known to 1/√38 = 16%; four times that.
    assert abs(spread / claimed - 1) < 0.65


@pytest.mark.parametrize("measure", BOTH)
def test_a_long_run_confirms_a_short_one(measure):
    problem = igsref.as_problem(mlp(0, [3, 5, 3], nn.ReLU), (gaussian(1, 9, 3), classes(2, 9, 3)))
    short = measure.compute(problem, rho=0.3, pairs=64, seed=1)
    long = measure.compute(problem, rho=0.3, pairs=800, seed=2)
    assert long.uncertainty < short.uncertainty / 3
    assert abs(short.value - long.value) < 5 * math.hypot(short.uncertainty, long.uncertainty)


def test_pairs_take_out_the_gradient():
    problem = igsref.as_problem(*_smooth())
    found = average_case_sharpness(problem, rho=1e-4, pairs=100)
    theta = parameter_vector(problem)
    slope = float(torch.func.grad(loss_of_vector(problem))(theta).norm())
    # Without pairs the standard error is ρ‖g‖/√n; with them it is of second order.
    assert found.uncertainty < 0.01 * 1e-4 * slope / 10


@settings(max_examples=8, deadline=None)
@given(network=relu_networks(), seed=SEEDS, reach=st.sampled_from([2, 20]))
def test_node_scaling_by_powers_of_two_changes_no_bit_of_the_adaptive_one(network, seed, reach):
    model, x, y = network
    generator = torch.Generator().manual_seed(seed)
    factors = [
        2.0 ** torch.randint(-reach, reach + 1, (width,), generator=generator).double()
        for width in hidden_widths(model)
    ]
    before = adaptive_average_case_sharpness(model, (x, y), pairs=10)
    after = adaptive_average_case_sharpness(scale_nodes(model, factors), (x, y), pairs=10)
    assert after == before
    assert {"node scaling", "diagonal"} <= ADAPTIVE_AVERAGE_CASE_SHARPNESS.promised


def test_layer_scaling_moves_the_plain_one():
    model, x, y = mlp(0, [3, 4, 3], nn.ReLU), gaussian(1, 9, 3), classes(2, 9, 3)
    before, after = (
        average_case_sharpness(net, (x, y)) for net in (model, scale_layers(model, [16.0]))
    )
    far = 0.01 * abs(before.value) + 5 * (before.uncertainty + after.uncertainty)
    assert abs(after.value - before.value) > far
    assert AVERAGE_CASE_SHARPNESS.promised == frozenset()


@pytest.mark.parametrize("measure", BOTH)
def test_the_seed_alone_decides(measure):
    problem = igsref.as_problem(*_smooth())
    first = measure.compute(problem, seed=1, pairs=4)
    draws()
    before = states()
    assert measure.compute(problem, seed=1, pairs=4) == first
    # The first is Python's, which beartype draws from where it checks arguments.
    assert states()[1:] == before[1:]
    assert measure.compute(problem, seed=2, pairs=4) != first


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rho": 0.0}, ValueError, "rho must be positive and finite"),
        ({"rho": math.nan}, ValueError, "rho must be positive and finite"),
        ({"rho": 1e300}, ValueError, "rho must be so small that the loss is finite"),
        ({"pairs": 1}, ValueError, "pairs must be at least 2; got 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"colour": 1}, TypeError, "unknown option 'colour'"),
    ],
)
def test_bad_input_is_refused(options, error, message):
    model, x, y = mlp(0, [2, 3, 2], nn.ReLU), gaussian(1, 4, 2), classes(2, 4, 2)
    for measure in BOTH:
        with pytest.raises(error, match=message):
            measure.compute(model, (x, y), **options)
