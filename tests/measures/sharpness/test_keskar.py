"""Keskar's sharpness: a convex loss, whose maximum is a corner of the box, and its bounds."""

import itertools
import math

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.loss import loss_of_vector, parameter_vector
from igsref.measures.sharpness.keskar import KESKAR_SHARPNESS, keskar_sharpness
from igsref.measures.sharpness.neighbourhood import loss_rise
from igsref.transforms.symmetries import scale_layers
from tests.closeness import EPS
from tests.random_states import draws, states
from tests.strategies import architecture, classes, fill_, gaussian, mlp


def logistic():
    """A logistic regression of three weights and a bias: the loss is convex."""
    model = fill_(nn.Linear(3, 1).double(), 0)
    return model, gaussian(1, 12, 3), classes(2, 12, 2).double()


@pytest.mark.parametrize("epsilon", [5e-4, 1e-3, 0.1, 1.0])
def test_a_convex_loss_is_largest_at_a_corner_of_the_box(epsilon):
    model, x, y = logistic()
    problem = igsref.as_problem(model, (x, y), likelihood="bernoulli")
    theta, loss = parameter_vector(problem), loss_of_vector(problem)
    half_width = epsilon * (theta.abs() + 1)
    corners = [
        float(loss(theta + half_width * torch.tensor(signs).double()))
        for signs in itertools.product([-1.0, 1.0], repeat=4)
    ]
    start = float(loss(theta))
    expected = 100 * (max(corners) - start) / (1 + start)
    found = keskar_sharpness(problem, epsilon=epsilon)
    # Losses are means of twelve numbers, good to some 32 eps; their difference keeps that.
    assert found.value == pytest.approx(expected, abs=100 * 64 * EPS * max(corners))
    assert found.kind == "maximised"


def test_no_point_of_the_box_is_higher():
    model, x, y = mlp(0, [3, 4, 3], nn.ReLU), gaussian(1, 20, 3), classes(2, 20, 3)
    problem = igsref.as_problem(model, (x, y))
    theta, rise = parameter_vector(problem), loss_rise(problem)
    start = float(loss_of_vector(problem)(theta))
    found = keskar_sharpness(problem, epsilon=0.05, starts=2, iterations=50).value
    corners = 0.05 * (theta.abs() + 1) * gaussian(3, 300, len(theta)).sign()
    assert 100 * float(torch.func.vmap(rise)(corners).max()) / (1 + start) < found


def test_more_starts_never_lower_the_value():
    model, x, y = mlp(5, [3, 4, 3], nn.ReLU), gaussian(1, 20, 3), classes(2, 20, 3)
    values = [
        keskar_sharpness(model, (x, y), epsilon=0.5, starts=n, iterations=20) for n in (1, 3, 6)
    ]
    assert values[0].value <= values[1].value <= values[2].value
    assert values[0].uncertainty == 0
    assert all(math.isfinite(found.uncertainty) for found in values)


def test_the_seed_alone_decides():
    model, x, y = architecture("MLP with tanh", 0, 6)
    problem = igsref.as_problem(model, (x, y))
    first = keskar_sharpness(problem, epsilon=0.5, seed=1, iterations=2)
    draws()
    before = states()
    assert keskar_sharpness(problem, epsilon=0.5, seed=1, iterations=2) == first
    # The first is Python's, which beartype draws from where it checks arguments.
    assert states()[1:] == before[1:]
    assert keskar_sharpness(problem, epsilon=0.5, seed=2, iterations=2) != first


def test_scaling_a_layer_moves_it():
    model, x, y = mlp(0, [3, 4, 3], nn.ReLU), gaussian(1, 9, 3), classes(2, 9, 3)
    before, after = (
        keskar_sharpness(net, (x, y), starts=1).value
        for net in (model, scale_layers(model, [16.0]))
    )
    assert abs(after / before - 1) > 0.01
    assert KESKAR_SHARPNESS.promised == frozenset()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epsilon": 0.0}, ValueError, "epsilon must be positive and finite"),
        ({"epsilon": math.inf}, ValueError, "epsilon must be positive and finite"),
        ({"starts": 0}, ValueError, "starts must be at least 1; got 0"),
        ({"iterations": 0}, ValueError, "iterations must be at least 1; got 0"),
        ({"iterations": 1.5}, TypeError, "iterations"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"colour": 1}, TypeError, "unknown option 'colour'"),
    ],
)
def test_bad_input_is_refused(options, error, message):
    model, x, y = logistic()
    with pytest.raises(error, match=message):
        keskar_sharpness(model, (x, y), likelihood="bernoulli", **options)
