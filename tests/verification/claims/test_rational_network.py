"""Rational networks against exact difference quotients and the ball arithmetic of the oracle."""

import random
from collections.abc import Sequence

import pytest
from flint import fmpq

from verification.claims.linear_algebra import column, matrix, select
from verification.claims.null_directions import flattened
from verification.claims.rational_network import (
    Linear,
    Network,
    class_differences,
    forward,
    jacobian,
    random_inputs,
    random_network,
)


def unflattened(network: Network, theta: Sequence[fmpq]) -> Network:
    """The same architecture at another θ."""
    layers, start = [], 0
    for layer in network.layers:
        out, into = layer.weight.nrows(), layer.weight.ncols()
        rows = [theta[start + i * into : start + (i + 1) * into] for i in range(out)]
        start += out * into
        bias = None if layer.bias is None else column(theta[start : start + out])
        start += 0 if layer.bias is None else out
        layers.append(Linear(matrix(rows), bias))
    return Network(tuple(layers), network.slope, network.offset)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("slope", [fmpq(0), fmpq(1, 100)], ids=str)
def test_jacobian_is_the_derivative(bias: bool, slope: fmpq) -> None:
    """Logits are linear in each single weight near θ, so a small quotient is the derivative."""
    draw, step = random.Random(4), fmpq(1, 2**80)
    network = random_network(draw, [2, 3, 2, 3], bias=bias, slope=slope)
    # Logits without a bias may lie on a kink only at x = 0.
    (x,) = random_inputs(draw, 1, 2)
    at, jac = flattened(network.layers).entries(), jacobian(network, x)
    before = forward(network, x).logits
    for j in range(network.num_parameters):
        moved = unflattened(network, [t + step * int(k == j) for k, t in enumerate(at)])
        quotient = (forward(moved, x).logits - before) * (1 / step)
        assert quotient == select(jac, range(3), [j])


def test_slope_at_zero_is_the_lower_one() -> None:
    network = Network((Linear(matrix([[1]]), None), Linear(matrix([[1], [2]]), None)), fmpq(1, 4))
    assert forward(network, [0]).slopes == ((fmpq(1, 4),),)
    assert forward(network, [-2]).logits == column([fmpq(-1, 2), -1])


def test_class_differences_have_a_row_for_each_class_but_one() -> None:
    network = random_network(random.Random(6), [2, 3, 3])
    d = class_differences(network, [[1, 2], [3, 4]])
    j = jacobian(network, [3, 4])
    assert (d.nrows(), d.ncols()) == (4, network.num_parameters)
    assert select(d, [3], range(d.ncols())) == matrix(
        [[a - b for a, b in zip(j.tolist()[2], j.tolist()[0], strict=True)]]
    )
