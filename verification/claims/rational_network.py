"""ReLU and leaky ReLU networks over the rationals: logits, class differences D, no rounding.

Parameters go layer by layer, weight row by row before bias, and the derivative at 0 is the lower
slope, as in torch.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flint import fmpq, fmpq_mat

from verification.claims.linear_algebra import Number, column, identity, matrix, random_matrix

Inputs = Sequence[Sequence[Number]]


@dataclass(frozen=True)
class Linear:
    """weight: d_out × d_in. bias: d_out × 1, or None."""

    weight: fmpq_mat
    bias: fmpq_mat | None

    @property
    def num_parameters(self) -> int:
        rows = self.weight.nrows()
        return rows * self.weight.ncols() + (rows if self.bias is not None else 0)


@dataclass(frozen=True)
class Network:
    """Linear layers with σ between them.

    σ(z) = z for z > 0, ``slope`` z for z ≤ 0, plus ``offset``, which is 0 of a homogeneous σ.
    """

    layers: tuple[Linear, ...]
    slope: Number = 0
    offset: Number = 0

    @property
    def num_parameters(self) -> int:
        return sum(layer.num_parameters for layer in self.layers)

    @property
    def hidden(self) -> list[int]:
        """Widths of the hidden layers."""
        return [layer.weight.nrows() for layer in self.layers[:-1]]


@dataclass(frozen=True)
class Pass:
    """One input seen through the network: logits (C × 1), inputs of the layers, slopes of σ."""

    logits: fmpq_mat
    units: tuple[fmpq_mat, ...]
    slopes: tuple[tuple[Number, ...], ...]


def random_network(
    draw: random.Random, widths: Sequence[int], *, bias: bool = True, slope: Number = 0
) -> Network:
    layers = [
        Linear(random_matrix(draw, out, into), random_matrix(draw, out, 1) if bias else None)
        for into, out in itertools.pairwise(widths)
    ]
    return Network(tuple(layers), slope)


def with_layer(network: Network, level: int, layer: Linear) -> Network:
    layers = list(network.layers)
    layers[level] = layer
    return replace(network, layers=tuple(layers))


def forward(network: Network, x: Sequence[Number]) -> Pass:
    units, slopes = [column(x)], []
    for layer in network.layers[:-1]:
        z = [row[0] for row in _affine(layer, units[-1]).tolist()]
        at = tuple(1 if value > 0 else network.slope for value in z)
        slopes.append(at)
        units.append(column([s * v + network.offset for s, v in zip(at, z, strict=True)]))
    return Pass(_affine(network.layers[-1], units[-1]), tuple(units), tuple(slopes))


def _affine(layer: Linear, x: fmpq_mat) -> fmpq_mat:
    product = layer.weight * x
    return product if layer.bias is None else product + layer.bias


def backward(network: Network, seen: Pass) -> list[fmpq_mat]:
    """∂f/∂z for the outputs z of each linear layer, C × d."""
    deltas = [identity(network.layers[-1].weight.nrows())]
    for level in reversed(range(len(network.layers) - 1)):
        pulled = deltas[-1] * network.layers[level + 1].weight
        rows = [
            [d * s for d, s in zip(row, seen.slopes[level], strict=True)] for row in pulled.tolist()
        ]
        deltas.append(matrix(rows))
    return deltas[::-1]


def jacobian(network: Network, x: Sequence[Number]) -> fmpq_mat:
    """J = ∂f/∂θ at one input, C × m."""
    seen = forward(network, x)
    deltas = backward(network, seen)
    rows = []
    for c in range(seen.logits.nrows()):
        row: list[fmpq] = []
        for layer, unit, delta in zip(network.layers, seen.units, deltas, strict=True):
            into = [entry[0] for entry in unit.tolist()]
            out = delta.tolist()[c]
            row += [d * u for d in out for u in into]
            row += [] if layer.bias is None else out
        rows.append(row)
    return matrix(rows)


def differences(jacobians: Sequence[fmpq_mat]) -> fmpq_mat:
    """D: J_c − J_0 for c = 1, …, C − 1 of every sample, N(C−1) × m."""
    rows = []
    for jac in jacobians:
        reference, *others = jac.tolist()
        rows += [[a - b for a, b in zip(other, reference, strict=True)] for other in others]
    return matrix(rows)


def class_differences(network: Network, inputs: Inputs) -> fmpq_mat:
    """D of the network at these inputs."""
    return differences([jacobian(network, x) for x in inputs])


def random_inputs(draw: random.Random, count: int, features: int) -> Inputs:
    return random_matrix(draw, count, features, largest=9).tolist()
