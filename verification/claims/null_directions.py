"""Fact of symmetry: how many directions of θ no class difference can see, at every θ."""

import random
from collections.abc import Sequence

import sympy
from flint import fmpq, fmpq_mat
from sympy.polys.matrices import DomainMatrix

from verification.claims.claim import Claim, listed, require
from verification.claims.linear_algebra import beside, column, matrix, zeros
from verification.claims.rational_network import (
    Inputs,
    Linear,
    Network,
    class_differences,
    forward,
    random_inputs,
    random_network,
    with_layer,
)

LEAK = fmpq(1, 100)


def unit_directions(network: Network, sign: int = -1, with_bias: bool = True) -> list[fmpq_mat]:
    """n_u = (weights and bias into hidden unit u, −weights out of it), one for each u."""
    directions = []
    for level, width in enumerate(network.hidden):
        for unit in range(width):
            blocks = [_no_change(layer) for layer in network.layers]
            blocks[level] = _row_only(network.layers[level], unit, with_bias)
            blocks[level + 1] = _column_only(network.layers[level + 1], unit, sign)
            directions.append(flattened(blocks))
    return directions


def shift_directions(network: Network) -> list[fmpq_mat]:
    """1 ⊗ e_j in W_L for each input j of the last layer, and 1 in its bias, if it has one."""
    *below, last = network.layers
    still = [_no_change(layer) for layer in below]
    classes, width = last.weight.nrows(), last.weight.ncols()
    directions = [
        flattened([*still, Linear(_ones_in_column(classes, width, j), _zero_bias(last))])
        for j in range(width)
    ]
    if last.bias is not None:
        shifted = Linear(zeros(classes, width), column([1] * classes))
        directions.append(flattened([*still, shifted]))
    return directions


def flattened(layers: Sequence[Linear]) -> fmpq_mat:
    """The layers as one column θ."""
    entries: list[fmpq] = []
    for layer in layers:
        entries += layer.weight.entries()
        entries += [] if layer.bias is None else layer.bias.entries()
    return column(entries)


def _zero_bias(layer: Linear) -> fmpq_mat | None:
    return None if layer.bias is None else zeros(layer.bias.nrows(), 1)


def _no_change(layer: Linear) -> Linear:
    return Linear(zeros(layer.weight.nrows(), layer.weight.ncols()), _zero_bias(layer))


def _row_only(layer: Linear, row: int, with_bias: bool) -> Linear:
    change = _no_change(layer)
    for j in range(layer.weight.ncols()):
        change.weight[row, j] = layer.weight[row, j]
    if change.bias is not None and with_bias:
        change.bias[row, 0] = layer.bias[row, 0]
    return change


def _column_only(layer: Linear, col: int, sign: int) -> Linear:
    change = _no_change(layer)
    for i in range(layer.weight.nrows()):
        change.weight[i, col] = sign * layer.weight[i, col]
    return change


def _ones_in_column(rows: int, columns: int, which: int) -> fmpq_mat:
    return matrix([[fmpq(int(j == which)) for j in range(columns)] for _ in range(rows)])


def lost_directions(network: Network) -> int:
    """k = #hidden + d_{L−1} + (1 with a bias in the last layer)."""
    return sum(network.hidden) + network.hidden[-1] + int(network.layers[-1].bias is not None)


# Statement: rank F ≤ m − #hidden − d_{L−1} − 1 for ReLU and leaky ReLU.


def _generic_cases() -> list[tuple[Network, Inputs]]:
    """One and two hidden layers, with and without biases, ReLU and leaky ReLU."""
    draw = random.Random(11)
    cases = []
    for widths, count in (([2, 3, 3], 20), ([3, 2, 2], 20), ([2, 3, 2, 3], 40)):
        for bias in (True, False):
            for slope in (fmpq(0), LEAK):
                network = random_network(draw, widths, bias=bias, slope=slope)
                cases.append((network, random_inputs(draw, count, widths[0])))
    return cases


def check_relu_bound(
    sign: int = -1, with_bias: bool = True, offset: int = 0, sharper_by: int = 0
) -> str:
    seen = attained = 0
    for network, inputs in _generic_cases():
        network = Network(network.layers, network.slope, fmpq(offset))
        d = class_differences(network, inputs)
        directions = unit_directions(network, sign, with_bias) + shift_directions(network)
        for n in directions:
            require((d * n) == zeros(d.nrows(), 1), "D n = 0")
        k = lost_directions(network)
        require(beside(directions).rank() == len(directions) == k, "k independent directions")
        bound = network.num_parameters - k - sharper_by
        require(d.rank() <= bound, "rank D ≤ m − k")
        seen += len(directions)
        attained += d.rank() == bound
    return (
        f"{len(_generic_cases())} networks: {seen} directions n with D n = 0 exactly, "
        f"rank D = m − k in {attained}"
    )


RELU = Claim(
    name="rank-bound-of-relu-networks",
    source="beyond the paper",
    statement="rank F ≤ m − #hidden − d_{L−1} − 1 for ReLU and leaky ReLU perceptrons (without a "
    "bias in the last layer: no −1)",
    status="proved",
    means="exact rational computation",
    argument="Let σ(sz) = sσ(z) for s > 0. Scaling the weights and the bias into a hidden unit u "
    "by s and the weights out of it by 1/s leaves every logit as it is; the derivative at s = 1 is "
    "n_u = (weights and bias into u, −weights out of u), so J n_u = 0. Adding one vector to all "
    "rows of W_L, or one number to all entries of b_L, adds the same number to all logits of a "
    "sample, so D (1 ⊗ e_j) = 0 and D 1_{b_L} = 0 for the class differences D, and rank F = rank "
    "D (`rank-does-not-depend-on-p`). These k = #hidden + d_{L−1} + 1 directions are independent "
    "where no weight is 0: in Σ c_u n_u + Σ t_j (1 ⊗ e_j) + t 1 = 0 the entry at a weight w from "
    "u into the hidden unit v is w(c_v − c_u) (c = 0 for an input), so c = 0 layer by layer from "
    "the inputs on, and then t = 0. Hence rank D ≤ m − k for almost all θ; "
    "`rank-bound-at-every-parameter` has the rest. The check forms D in rationals, multiplies it "
    "by each direction, and counts ranks.",
    check=check_relu_bound,
    mutations={
        "weights out of the unit with the wrong sign": {"sign": 1},
        "the bias does not scale with its unit": {"with_bias": False},
        "an activation that is not homogeneous": {"offset": 1},
        "one direction more": {"sharper_by": 1},
    },
)


# Statement: it holds at every θ, dead units, zero weights and kinks included.


def _degenerate_cases() -> dict[str, tuple[Network, Inputs]]:
    draw = random.Random(5)
    network = random_network(draw, [2, 3, 3, 3])
    inputs = random_inputs(draw, 40, 2)
    first, _, last = network.layers
    dead = Linear(zeros(3, 2), column([-1, -1, 1]))
    kinked = Linear(first.weight, zeros(3, 1))
    return {
        "dead units": (with_layer(network, 0, dead), inputs),
        "no weight out of a layer": (
            with_layer(network, 2, Linear(zeros(3, 3), last.bias)),
            inputs,
        ),
        "units without any weight": (
            Network((first, Linear(zeros(3, 3), zeros(3, 1)), Linear(zeros(3, 3), last.bias))),
            inputs,
        ),
        "all parameters 0": (
            Network(tuple(_no_change(layer) for layer in network.layers), LEAK),
            inputs,
        ),
        "an input on every kink": (with_layer(network, 0, kinked), [[0, 0], *inputs]),
    }


def check_every_parameter(sharper_by: int = 0, frozen: bool = True) -> str:
    independent, ranks = [], []
    for name, (network, inputs) in _degenerate_cases().items():
        directions = beside(unit_directions(network) + shift_directions(network))
        k, d = lost_directions(network), class_differences(network, inputs)
        bound = network.num_parameters - k
        require(d.rank() <= bound, f"rank D ≤ m − k with {name}")
        independent.append(directions.rank())
        ranks.append(d.rank())
    tangent, theta = _tangent_jacobian(frozen)
    allowed = len(theta) - 2 - sharper_by
    point = tangent.subs(dict(zip(theta, (2, 3, -5, 7, 11, -13, 17), strict=True)))
    require(point.rank() <= allowed, "rank of the tangent network at one θ ≤ m − k")
    generic = _rank_over_rational_functions(tangent)
    require(generic <= allowed, "rank of the tangent network over Q(θ) ≤ m − k")
    return (
        f"degenerate θ: rank {listed(ranks)} ≤ {bound} where {listed(independent)} of {k} "
        "directions are left; "
        f"tangent network over Q(θ): rank {generic} ≤ {allowed}"
    )


_PATTERNS = ((1, 0), (0, 1), (1, 1), (1, 1), (0, 0), (0, 1), (1, 0), (1, 1))
"""Slopes of two hidden units at as many samples."""


def _tangent_jacobian(frozen: bool) -> tuple[sympy.Matrix, list[sympy.Symbol]]:
    """Jacobian of f_1 in a 1-2-2 network with f_0 held at 0, a row for each sample; and its θ.

    frozen: σ(z) = S z with the slope that the sample has; otherwise σ(z) = S (z⁵ + z), polynomial
    as well and not homogeneous.
    """
    a, c, v = (sympy.symbols(f"{name}:2") for name in "acv")
    t = sympy.Symbol("t")
    outputs = []
    for x, slopes in enumerate(_PATTERNS, start=1):
        z = [a[u] * x + c[u] for u in range(2)]
        h = [s * (u if frozen else u**5 + u) for s, u in zip(slopes, z, strict=True)]
        outputs.append(v[0] * h[0] + v[1] * h[1] + t)
    theta = [*a, *c, *v, t]
    return sympy.Matrix(outputs).jacobian(theta), theta


def _rank_over_rational_functions(tangent: sympy.Matrix) -> int:
    """The rank for almost all θ, and the largest there is."""
    return DomainMatrix.from_Matrix(tangent).to_field().rank()


EVERY = Claim(
    name="rank-bound-at-every-parameter",
    source="beyond the paper",
    statement="the bound on rank F holds at every θ: dead units, zero weights, pre-activations on "
    "a kink",
    status="proved",
    means="exact rational computation",
    argument="At such θ₀ some of the k directions vanish or coincide, so counting them proves "
    "nothing. Replace each activation, for every sample, by its tangent at θ₀, σ(z) = S z with "
    "the slope S that the derivative takes there (at 0 by convention). Neither outputs nor D "
    "change at θ₀, but the new outputs are polynomials of θ, and S z is homogeneous, so the new "
    "network has all the symmetries at every θ. Where no weight is 0 the k directions are "
    "independent (`rank-bound-of-relu-networks`): rank D(θ) ≤ m − k for almost all θ. All minors "
    "of order m − k + 1 are polynomials that vanish almost everywhere, hence everywhere, at θ₀ "
    "too. The check has exact ranks at five degenerate θ, at some of which fewer than k directions "
    "are left, and the rank of a tangent network over the field Q(θ).",
    check=check_every_parameter,
    mutations={
        "one direction more": {"sharper_by": 1},
        "an activation that is not homogeneous": {"frozen": False},
    },
)


# Statement: the bounds are equalities. Refuted.


def check_not_tight(weight: int = 1, inputs: tuple[int, ...] = (1, 2, 3)) -> str:
    """A 1-1-2 network whose only hidden unit is on at each input."""
    network = Network(
        (
            Linear(matrix([[weight]]), column([0])),
            Linear(matrix([[0], [1]]), column([0, 0])),
        )
    )
    rows: Inputs = [[x] for x in inputs]
    d = class_differences(network, rows)
    bound = network.num_parameters - lost_directions(network)
    require(len(rows) >= bound, "enough samples for the bound")
    require(all(forward(network, x).slopes[0][0] == 1 for x in rows), "the unit is on")
    require(d.rank() < bound, "rank D < m − k")
    ranks = []
    for seed in range(4):
        draw = random.Random(seed)
        wide = random_network(draw, [2, 8, 8, 3])
        ranks.append(class_differences(wide, random_inputs(draw, 80, 2)).rank())
    limit = wide.num_parameters - lost_directions(wide)
    return (
        f"1-1-2: rank {d.rank()} < {bound}; random 2-8-8-3 networks, N = 80: "
        f"ranks {listed(sorted(ranks))}, bound {limit}"
    )


TIGHT = Claim(
    name="rank-bound-is-not-attained-in-general",
    source="beyond the paper",
    statement="rank F = m − #hidden − d_{L−1} − 1 wherever N(C−1) is as large",
    status="refuted",
    means="exact rational computation",
    argument="A unit that is on at every input is linear there: with f_1 − f_0 = w(ax + c) + t the "
    "derivatives with respect to a, c, w, t are wx, w, ax + c, 1, all combinations of 1 and x, so "
    "rank D ≤ 2, while m − k = 6 − 3 = 3. With an input on the other side of the kink the bound is "
    "attained. Dead units, inputs of low dimension and units of a later layer that are never "
    "split by a kink lower the rank in the same way: the bounds are upper bounds only.",
    check=check_not_tight,
    mutations={
        "the unit is off at one input": {"inputs": (1, 2, -3)},
        "fewer samples than the bound": {"inputs": (1, 2)},
    },
    counterexample="The 1-1-2 ReLU network f = (0, max(x, 0)), a = 1, c = 0, W_2 = (0, 1)ᵀ, "
    "b_2 = 0, at x = 1, 2, 3: bound 6 − 1 − 1 − 1 = 3, rank F = 2.",
)

CLAIMS = (RELU, EVERY, TIGHT)
