"""The running error analysis: true bounds, sharp ones, and what has none."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.jacobian.rows import jacobian_rows
from igsref.jacobian.running import logit_error, row_error, unsupported
from tests.closeness import assert_within
from tests.strategies import SEEDS, architecture, classes, convolutional, fill_, gaussian, mlp
from verification.networks import EXTREME_KINDS, KINDS, draw_network
from verification.oracle import logits_and_jacobian
from verification.perceptron import dot

UNIT = 2.0**-53
BITS = 1200
COVERED = {nn.ReLU: "relu", nn.LeakyReLU: "leaky_relu", nn.Tanh: "tanh"}


# The exact network, as a fully connected one whose weights are shared and partly 0.


def products(module, shape):
    """(unit of the output, unit of the input, index in the weight) of each product W x."""
    if isinstance(module, nn.Linear):
        sizes = range(math.prod(shape[:-1])), range(module.out_features), range(shape[-1])
        for p, o, i in itertools.product(*sizes):
            yield p * len(sizes[1]) + o, p * len(sizes[2]) + i, o * len(sizes[2]) + i
        return
    out_shape = module(torch.zeros(1, *shape).to(module.weight)).shape[1:]
    own = module.weight.shape
    for unit in itertools.product(*map(range, out_shape)):
        for i, *offset in itertools.product(*map(range, own[1:])):
            channel = unit[0] // (own[0] // module.groups) * own[1] + i
            where = [
                q * s + k * d - p
                for q, k, s, d, p in zip(
                    unit[1:], offset, module.stride, module.dilation, module.padding, strict=True
                )
            ]
            if all(0 <= w < n for w, n in zip(where, shape[1:], strict=True)):
                yield (
                    int(np.ravel_multi_index(unit, out_shape)),
                    int(np.ravel_multi_index((channel, *where), shape)),
                    int(np.ravel_multi_index((unit[0], i, *offset), own)),
                )


def connected(layer, tensors, shape):
    """The affine layer as (weight, bias), and which number of which tensor each of them is."""
    out_shape = layer.module(torch.zeros(1, *shape).to(layer.module.weight)).shape[1:]
    names = np.full((math.prod(out_shape), math.prod(shape)), -1)
    for out, into, index in products(layer.module, shape):
        names[out, into] = index
    origins = [(layer.weight, index) for index in names.flatten().tolist()]
    flat = [*tensors[layer.weight].flatten().tolist(), 0.0]
    weight = [[flat[index] for index in row] for row in names.tolist()]
    if layer.bias is None:
        return (weight, None), origins, out_shape
    channels = len(tensors[layer.bias])
    units = range(math.prod(out_shape))
    at = [
        u % channels if isinstance(layer.module, nn.Linear) else u * channels // len(units)
        for u in units
    ]
    bias = tensors[layer.bias].tolist()
    origins += [(layer.bias, index) for index in at]
    return (weight, [bias[index] for index in at]), origins, out_shape


def exact(problem, sample):
    """(logits, Jacobian) of a sample in balls, the Jacobian's columns in θ's order."""
    theta = problem.function.parameters
    tensors = {**problem.function.constants, **theta}
    shape, layers, origins, activation = problem.samples.args[0].shape[1:], [], [], "relu"
    for layer in problem.function.layers:
        activation = COVERED.get(type(layer.module), activation)
        if layer.weight is None:
            shape = layer.module(torch.zeros(1, *shape)).shape[1:]
            continue
        dense, own, shape = connected(layer, tensors, shape)
        layers.append(dense)
        origins += own
    row = problem.samples.args[0][sample].flatten().tolist()
    logits, jacobian = logits_and_jacobian(layers, activation, row, bits=BITS)
    start = dict(zip(theta, np.cumsum([0, *(v.numel() for v in theta.values())]), strict=False))
    sums = [[arb(0)] * problem.num_parameters for _ in jacobian]
    for column, (name, index) in enumerate(origins):
        if index >= 0 and name in start:
            for total, entries in zip(sums, jacobian, strict=True):
                total[start[name] + index] += entries[column]
    return logits, sums


def assert_bounded(computed, truth, bound):
    """|computed − truth| ≤ bound, entry by entry, decided in ball arithmetic."""
    entries = zip(computed.tolist(), truth, bound.tolist(), strict=True)
    for index, (got, expected, allowed) in enumerate(entries):
        assert abs(arb(got) - expected) <= arb(allowed), (
            f"entry {index}: {got!r} is {float(abs(arb(got) - expected)):.3g} off; "
            f"the bound is {allowed:.3g}"
        )


def assert_bounds_hold(problem, cotangents=None):
    """The bounds of logits and of rows, against the exact network."""
    K = problem.likelihood.contrast(problem.logits) if cotangents is None else cotangents
    e, E = logit_error(problem), row_error(problem, K).view(*K.shape[:2], -1)
    rows = jacobian_rows(problem, K).view(E.shape)
    assert bool((e >= 0).all()) and bool((E >= 0).all())
    with ctx.workprec(BITS):
        for sample in range(problem.num_samples):
            logits, jacobian = exact(problem, sample)
            assert_bounded(problem.logits[sample], logits, e[sample])
            columns = list(zip(*jacobian, strict=True))
            for r, row in enumerate(K[sample].tolist()):
                truth = [dot([arb(k) for k in row], column) for column in columns]
                assert_bounded(rows[sample, r], truth, E[sample, r])


def scalar_problem(factors, inputs, *end):
    """x ↦ end(w_L ⋯ w_2 w_1 x), no activation between, as a regression of one output."""
    layers = [nn.Linear(1, 1, bias=False) for _ in factors]
    with torch.no_grad():
        for layer, factor in zip(layers, factors, strict=True):
            layer.double().weight.fill_(factor)
    model = nn.Sequential(*layers, *end)
    return igsref.as_problem(model, (inputs, torch.zeros_like(inputs)), likelihood="gaussian")


# Bounds that hold.


@settings(max_examples=40)
@given(
    seed=SEEDS,
    activation=st.sampled_from(list(COVERED)),
    hidden=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 2.0**-40, 16.0]),
)
def test_no_error_exceeds_its_bound(seed, activation, hidden, bias, scale):
    model = mlp(seed, [3, *hidden, 3], activation, bias=bias)
    x = scale * gaussian(seed + 1, 3, 3)
    assert_bounds_hold(igsref.as_problem(model, (x, classes(seed + 2, 3, 3))))


def covered_networks(kind, count):
    drawn = (draw_network(kind, seed) for seed in itertools.count())
    return itertools.islice((n for n in drawn if type(n.model[1]) is not nn.GELU), count)


@pytest.mark.parametrize("kind", [*KINDS, *EXTREME_KINDS])
def test_no_error_exceeds_its_bound_on_networks_that_go_wrong(kind):
    for network in covered_networks(kind, 4):
        data = network.inputs[:4], network.labels[:4]
        assert_bounds_hold(igsref.as_problem(network.model, data))


CONVOLUTIONS = {
    "plain": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3),
            nn.ReLU(),
            nn.Conv2d(2, 2, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
        (1, 5, 5),
    ),
    "strided, padded, grouped": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 2), groups=2),
            nn.LeakyReLU(),
            nn.Conv2d(4, 2, 2, stride=2, bias=False),
            nn.Identity(),
            nn.Flatten(),
            nn.LeakyReLU(),
            nn.Linear(6, 3),
        ),
        (2, 4, 3),
    ),
    "dilated": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 2, dilation=(2, 1)), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)
        ),
        (1, 4, 4),
    ),
    "of sequences": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2),
            nn.ReLU(),
            nn.Conv1d(4, 2, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4, 3),
        ),
        (2, 7),
    ),
    "linear at each position": (
        lambda: nn.Sequential(
            nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
        ),
        (2, 2, 3),
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("seed", range(2))
def test_bounds_hold_where_weights_are_shared_between_positions(name, seed):
    build, shape = CONVOLUTIONS[name]
    model = fill_(build().double(), seed)
    x = gaussian(seed + 1, 2, *shape)
    assert_bounds_hold(igsref.as_problem(model, (x, classes(seed, 2, 3))))


@pytest.mark.parametrize("uses", [2, 3])
def test_bounds_hold_for_a_layer_used_again(uses):
    again = nn.Linear(3, 3)
    layers = [layer for _ in range(uses) for layer in (again, nn.Tanh())]
    model = fill_(nn.Sequential(*layers, nn.Linear(3, 3)).double(), 1)
    problem = igsref.as_problem(model, (gaussian(2, 4, 3), classes(3, 4, 3)))
    assert list(problem.function.parameters) == [
        "0.weight",
        "0.bias",
        f"{2 * uses}.weight",
        f"{2 * uses}.bias",
    ]
    assert_bounds_hold(problem)


def test_bounds_hold_for_general_cotangents():
    model = mlp(1, [3, 4, 3], nn.Tanh)
    problem = igsref.as_problem(model, (gaussian(2, 4, 3), classes(3, 4, 3)))
    assert_bounds_hold(problem, gaussian(4, 4, 2, 3))


@pytest.mark.parametrize("activation", COVERED)
def test_a_bound_holds_for_every_order_of_summation(activation):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    model, x, y = mlp(1, [40, 3, 3], activation), gaussian(2, 20, 40), classes(3, 20, 3)
    first = igsref.as_problem(model, (x, y))
    K = first.likelihood.contrast(first.logits)
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight[:, order])
    second = igsref.as_problem(model, (x[:, order], y))
    assert not torch.equal(first.logits, second.logits)
    assert_within(second.logits, first.logits, 2 * logit_error(first))
    columns = torch.arange(second.num_parameters)
    columns[:120].view(3, 40)[:, order] = torch.arange(120).view(3, 40)
    again = jacobian_rows(second, K)[:, columns]
    assert_within(again, jacobian_rows(first, K), 2 * row_error(first, K))


# Bounds that are nearly attained: half of them would be too small.


def near_one(seed, *shape):
    """1 + 2⁻⁸ t, so that each rounding is up to u of the product."""
    generator = torch.Generator().manual_seed(seed)
    return 1 + 2.0**-8 * torch.rand(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_bound_of_logits_is_nearly_attained(depth):
    problem = scalar_problem(near_one(depth, depth).tolist(), near_one(9, 4096, 1))
    weights = [Fraction(float(w)) for w in problem.function.parameters.values()]
    truth = [math.prod(weights) * Fraction(x) for (x,) in problem.samples.args[0].tolist()]
    ratios = [
        abs(Fraction(got) - true) / Fraction(bound)
        for (got,), true, (bound,) in zip(
            problem.logits.tolist(), truth, logit_error(problem).tolist(), strict=True
        )
    ]
    assert 0.85 < max(ratios) <= 1


def adverse_factors(start, count):
    """Factors near 1, each chosen so that its product is rounded far down."""
    factors, value = [], start
    for step in range(count):
        tried = near_one(step, 64).tolist()
        factors.append(
            max(tried, key=lambda w: Fraction(w) * Fraction(value) / Fraction(w * value))
        )
        value *= factors[-1]
    return factors


def test_the_bound_of_what_a_tanh_inherits_is_nearly_attained():
    """40 roundings before it, near 0 where its slope is 1, against 4 units of its own."""
    factors = adverse_factors(2.0**-4, 40)
    problem = scalar_problem(factors, torch.full((1, 1), 2.0**-4).double(), nn.Tanh())
    with ctx.workprec(BITS):
        truth = math.prod(arb(w) for w in factors) * arb(2.0**-4)
        ratio = abs(arb(float(problem.logits)) - truth.tanh()) / arb(float(logit_error(problem)))
        assert 0.6 < float(ratio) <= 1


def test_bounds_hold_where_the_own_error_of_tanh_is_most_of_it():
    """Just above ½ a unit in the last place is largest, beside the value."""
    (weight,), inputs = near_one(3, 1).tolist(), 0.55 * near_one(1, 4096, 1)
    problem = scalar_problem([weight], inputs, nn.Tanh())
    with ctx.workprec(BITS):
        truth = [(arb(weight) * arb(x)).tanh() for x in inputs.flatten().tolist()]
        assert_bounded(problem.logits.flatten(), truth, logit_error(problem).flatten())


def test_bounds_hold_where_the_derivative_of_tanh_is_rounded():
    """Near 0, where y is known well: ½ u for 1 − y², and u for each of two products."""
    weight, inputs, K = 2.0**-12, near_one(1, 4096, 1), near_one(2, 4096, 1, 1)
    problem = scalar_problem([weight], inputs, nn.Tanh())
    with ctx.workprec(BITS):
        pairs = zip(K.flatten().tolist(), inputs.flatten().tolist(), strict=True)
        truth = [arb(k) * arb(x) * (1 - (arb(weight) * arb(x)).tanh() ** 2) for k, x in pairs]
        rows, bounds = jacobian_rows(problem, K), row_error(problem, K)
        assert_bounded(rows.flatten(), truth, bounds.flatten())
        errors = [abs(arb(row) - t) for row, t in zip(rows.flatten().tolist(), truth, strict=True)]
        assert float(max(errors)) > 2.05 * UNIT


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.Identity()])
def test_bounds_hold_where_long_sums_lose_every_summand(activation):
    """1 + t + t + ⋯ with t just below u: from left to right, each t is lost."""
    lost = torch.full((1000,), 0.99 * UNIT, dtype=torch.float64)
    lost[0] = 1.0
    model = nn.Sequential(nn.Linear(1000, 1), activation, nn.Linear(1, 2)).double()
    with torch.no_grad():
        for value in model.parameters():
            value.fill_(1.0)
    problem = igsref.as_problem(model, (lost[None], torch.zeros(1, dtype=torch.long)))
    assert_bounds_hold(problem)
    sequence = nn.Sequential(nn.Conv1d(1, 1, 1), activation, nn.Flatten(), nn.Linear(1000, 1))
    with torch.no_grad():
        for value in sequence.double().parameters():
            value.fill_(0.0)
        sequence[3].weight[0] = lost
    ones = torch.ones(1, 1, 1000, dtype=torch.float64)
    problem = igsref.as_problem(sequence, (ones, torch.zeros(1, 1)), likelihood="gaussian")
    unit = torch.ones(1, 1, 1, dtype=torch.float64)
    rows, bounds = jacobian_rows(problem, unit), row_error(problem, unit)
    truth = 1 + 999 * Fraction(0.99 * UNIT)
    for got, bound in zip(rows[0, :2].tolist(), bounds[0, :2].tolist(), strict=True):
        assert abs(Fraction(got) - truth) <= Fraction(bound)
    assert float(abs(Fraction(float(rows[0, 1])) - truth)) > 2 * UNIT  # no other order of them


def test_bounds_hold_where_a_bias_is_added():
    """A product and a sum near 2: up to 1.5 units u of |w x| + |b|."""
    weight, bias, inputs = *near_one(1, 2).tolist(), near_one(9, 4096, 1)
    model = nn.Linear(1, 1).double()
    with torch.no_grad():
        model.weight.fill_(weight)
        model.bias.fill_(bias)
    problem = igsref.as_problem(model, (inputs, torch.zeros_like(inputs)), likelihood="gaussian")
    ratios = [
        abs(Fraction(got) - Fraction(weight) * Fraction(x) - Fraction(bias)) / Fraction(bound)
        for (got,), (x,), (bound,) in zip(
            problem.logits.tolist(), inputs.tolist(), logit_error(problem).tolist(), strict=True
        )
    ]
    assert 0.4 < max(ratios) <= 1


@pytest.mark.parametrize("depth", [1, 2])
def test_the_bound_of_rows_is_nearly_attained(depth):
    """The first weight's derivative is k·w_L ⋯ w_2·x, L roundings; the last one's k·(⋯ w_1 x)."""
    problem = scalar_problem(near_one(depth, depth).tolist(), near_one(9, 4096, 1))
    K = near_one(8, 4096, 1, 1)
    weights = [Fraction(float(w)) for w in problem.function.parameters.values()]
    ratios = torch.zeros(4096, depth)
    rows, bounds = jacobian_rows(problem, K).tolist(), row_error(problem, K).tolist()
    for n, ((x,), k) in enumerate(
        zip(problem.samples.args[0].tolist(), K.flatten().tolist(), strict=True)
    ):
        for j in range(depth):
            true = Fraction(k) * Fraction(x) * math.prod(weights[:j] + weights[j + 1 :])
            ratios[n, j] = float(abs(Fraction(rows[n][j]) - true) / Fraction(bounds[n][j]))
    assert float(ratios.max()) <= 1
    assert float(ratios.amax(dim=0).min()) > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_where_nothing_cancels(seed):
    """Positive networks: each summand passes n roundings in a sum of n, and one more a ReLU."""
    widths = [3, 5, 4, 3]
    model = mlp(seed, widths, nn.ReLU)
    with torch.no_grad():
        for value in model.parameters():
            value.abs_()
    problem = igsref.as_problem(model, (gaussian(seed, 8, 3).abs(), classes(seed, 8, 3)))
    unit = torch.eye(3, dtype=torch.float64).expand(8, 3, 3)
    forward = sum(fan_in + 1 for fan_in in widths[:-1]) + len(widths) - 2
    backward = sum(widths[1:]) + len(widths) - 2
    assert bool((logit_error(problem) <= 1.01 * forward * UNIT * problem.logits).all())
    limit = 1.01 * (forward + backward) * UNIT * jacobian_rows(problem, unit)
    assert bool((row_error(problem, unit) <= limit).all())


def test_rows_of_trained_networks_are_known_to_12_digits():
    for network in covered_networks("trained", 8):
        problem = igsref.as_problem(network.model, (network.inputs, network.labels))
        K = problem.likelihood.contrast(problem.logits)
        sizes, errors = jacobian_rows(problem, K).norm(dim=1), row_error(problem, K).norm(dim=1)
        assert float((errors / sizes).max()) < 1e-12


def test_exact_rows_have_no_error():
    model = mlp(1, [3, 4, 3], nn.ReLU)
    problem = igsref.as_problem(model, (gaussian(2, 5, 3), classes(3, 5, 3)), parameters="2.bias")
    K = problem.likelihood.contrast(problem.logits)
    assert torch.equal(jacobian_rows(problem, K), K.flatten(0, 1))
    assert not row_error(problem, K).any()


# Large errors: whole digits lost, either branch, underflow, overflow.

ABSORBED = torch.tensor(list(itertools.permutations([2.0**60, 1.0, -(2.0**60)]))).double()
"""Six orders of three summands; a sum from left to right is 1 or, where 1 is absorbed, 0."""


def absorbing(activation):
    """Activations and cotangents of the middle weight are such sums of three: 1, exactly."""
    model = nn.Sequential(
        nn.Linear(3, 1, bias=False), activation, nn.Linear(1, 1, bias=False), activation,
        nn.Linear(1, 3, bias=False),
    ).double()  # fmt: skip
    with torch.no_grad():
        for value in model.parameters():
            value.fill_(1.0)
    data = ABSORBED, torch.zeros(6, dtype=torch.long)
    return igsref.as_problem(model, data), ABSORBED.expand(6, 6, 3)


@pytest.mark.parametrize("activation", [nn.Identity(), nn.ReLU(), nn.LeakyReLU(), nn.Tanh()])
def test_products_of_two_numbers_without_a_digit_have_an_error(activation):
    problem, K = absorbing(activation)
    rows, bounds = jacobian_rows(problem, K), row_error(problem, K)
    assert bool((rows[:, 3] == 0).any())  # the middle weight's derivative, exactly ≥ tanh 1 > 0
    assert bool((bounds[rows[:, 3] == 0, 3] >= 1).all())
    if not isinstance(activation, nn.Identity):
        assert_bounds_hold(problem, K)


def test_a_tanh_that_only_seems_saturated_has_an_error():
    """The sum is ½; from left to right it is 56.5, where tanh hardly has a slope."""
    x = torch.tensor(list(itertools.permutations([2.0**60, 200.0, -(2.0**60), -199.5])))
    model = nn.Sequential(nn.Linear(4, 1), nn.Tanh(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        for value in model.parameters():
            value.fill_(1.0)
        model[0].bias.zero_()
    problem = igsref.as_problem(model, (x.double(), torch.zeros(24, dtype=torch.long)))
    assert bool((problem.logits[:, 0] == 2.0).any())  # saturated
    assert_bounds_hold(problem, torch.eye(2, dtype=torch.float64)[:1].expand(24, 1, 2))


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(), nn.LeakyReLU(3.0)])
def test_a_sign_that_rounding_may_flip_leaves_both_branches_open(activation, side):
    model = nn.Sequential(nn.Linear(3, 1, bias=False), activation, nn.Linear(1, 2)).double()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[2].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    x = side * torch.tensor([[0.1, 0.2, -0.3], [0.25, 0.25, -0.5]], dtype=torch.float64)
    problem = igsref.as_problem(model, (x, torch.zeros(2, dtype=torch.long)))
    unit = torch.eye(2, dtype=torch.float64)[:1].expand(2, 1, 2)
    jump = abs(1 - getattr(activation, "negative_slope", 0.0))
    inner = row_error(problem, unit)[:, :3]
    assert bool((inner >= jump * x.abs()).all())
    assert bool((inner <= 3 * (1 + jump) * x.abs()).all())


def test_a_pre_activation_without_summands_is_known_to_be_0():
    """Where nothing is added, nothing is rounded: a blank input, a unit without weights."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3, bias=False)
    )
    model, x = fill_(model.double(), 1), gaussian(2, 2, 1, 4, 4)
    x[0] = 0.0
    with torch.no_grad():
        model[0].weight[0] = 0.0
    problem = igsref.as_problem(model, (x, classes(3, 2, 3)))
    K = problem.likelihood.contrast(problem.logits)
    assert not logit_error(problem)[0].any() and logit_error(problem)[1].all()
    blank, other = row_error(problem, K).view(2, 2, -1)
    assert not blank.any() and other.any()
    assert not other[:, :9].any()  # the weights of the unit that is 0 for every input


@pytest.mark.parametrize("activation", COVERED)
def test_bounds_hold_where_products_underflow(activation):
    model = mlp(1, [2, 2, 2, 2], activation, bias=False)
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight.mul_(1e-160)
    x = 1e-160 * gaussian(2, 6, 2)
    problem = igsref.as_problem(model, (x, classes(3, 6, 2)))
    assert not problem.logits.any() and logit_error(problem).any()
    assert_bounds_hold(problem)


def test_a_bound_that_overflows_is_infinite():
    """∞·0 in the second layer's bound leaves the sign of its units, and so their slope, open."""
    model = fill_(nn.Sequential(*mlp(1, [2, 2, 2, 2], nn.ReLU)), 1)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.0], [1.0, -1.0]]))
        model[0].bias.zero_()
        model[2].weight.zero_()
        model[4].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    x = torch.full((3, 2), 1.7e308, dtype=torch.float64)
    problem = igsref.as_problem(model, (x, classes(1, 3, 2)))
    K = problem.likelihood.contrast(problem.logits)
    e, E = logit_error(problem), row_error(problem, K)
    assert bool(e.isinf().all()) and not E.isnan().any()
    assert bool(E[:, 6:10].isinf().all())
    assert bool((E[:, 10:12] >= 2).all())  # the second layer's bias: 0 or ±2


@pytest.mark.parametrize("layout", ["contiguous", "strided", "one by one"])
def test_tanh_is_as_good_as_assumed(layout):
    """4 units in the last place are granted."""
    near, far = gaussian(1, 8000), 40 * gaussian(2, 1000)
    x = torch.cat([near, far, near * torch.exp2(-torch.linspace(0, 1000, 8000)).double()])
    if layout == "contiguous":
        y = x.tanh()
    elif layout == "strided":
        y = x[:, None].expand(-1, 3).contiguous()[:, 1].tanh()
    else:
        y = torch.stack([value.tanh() for value in x])
    with ctx.workprec(BITS):
        for point, got in zip(x.tolist(), y.tolist(), strict=True):
            error = abs(arb(got) - arb(point).tanh())
            assert error <= 4 * arb(math.ulp(got)), f"tanh({point!r}) = {got!r}"
            assert abs(got) <= 1


# Parts of θ, parts of the data, and what is not covered.


def test_the_error_of_a_part_is_a_part_of_the_error():
    model, x, y = mlp(1, [3, 4, 4, 3], nn.Tanh), gaussian(2, 7, 3), classes(3, 7, 3)
    whole = igsref.as_problem(model, (x, y))
    K = whole.likelihood.contrast(whole.logits)
    sizes = [value.numel() for value in whole.function.parameters.values()]
    errors = dict(
        zip(whole.function.parameters, row_error(whole, K).split(sizes, dim=1), strict=True)
    )
    for chosen in (["2.weight", "4.bias"], ["0.bias"], ["4.weight"]):
        part = igsref.as_problem(model, (x, y), parameters=chosen)
        expected = torch.cat([errors[name] for name in chosen], dim=1)
        assert_within(row_error(part, K), expected, 1e-9 * expected)
    for name in ("0.weight", "4.bias"):
        model.get_parameter(name).requires_grad_(False)
    frozen = igsref.as_problem(model, (x, y))
    expected = torch.cat([errors[name] for name in frozen.function.parameters], dim=1)
    assert_within(row_error(frozen, K), expected, 1e-9 * expected)
    assert_bounds_hold(frozen)


def test_samples_are_bounded_in_the_order_asked_for():
    model = fill_(convolutional(normalised=False).double(), 1)
    problem = igsref.as_problem(model, (gaussian(2, 9, 1, 5, 5), classes(3, 9, 3)))
    K = problem.likelihood.contrast(problem.logits)
    chosen = torch.tensor([7, 0, 3])
    expected = row_error(problem, K).view(9, 2, -1)[chosen].flatten(0, 1)
    got = row_error(problem, K, samples=chosen)
    assert got.shape == jacobian_rows(problem, K, samples=chosen).shape
    assert_within(got, expected, 1e-9 * expected)


def test_many_samples_are_bounded_chunk_by_chunk(monkeypatch):
    model, x = mlp(1, [3, 4, 3], nn.ReLU), gaussian(2, 7, 3)
    problem = igsref.as_problem(model, (x, classes(3, 7, 3)))
    K = problem.likelihood.contrast(problem.logits)
    e, E = logit_error(problem), row_error(problem, K)
    monkeypatch.setattr("igsref.jacobian.running.chunk_size", lambda size: 3)
    assert_within(logit_error(problem), e, 1e-9 * e)
    assert_within(row_error(problem, K), E, 1e-9 * E)


SEQUENCES = [nn.Flatten(), nn.Linear(4, 3)]
UNCOVERED = {
    r"layer 1 \(GELU\) has no error analysis": ([nn.Linear(4, 3), nn.GELU()], (4,)),
    r"layer 0 \(BatchNorm1d\) has no error analysis": (
        [nn.BatchNorm1d(4), nn.Linear(4, 3)],
        (4,),
    ),
    r"layer 0 \(Conv1d\) has padding='same'": (
        [nn.Conv1d(1, 1, 3, padding="same"), *SEQUENCES],
        (1, 4),
    ),
    r"layer 0 \(Conv1d\) pads with padding_mode='circular'": (
        [nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"), *SEQUENCES],
        (1, 4),
    ),
    r"layer 1 \(LeakyReLU\) has the negative slope -0.5": (
        [nn.Linear(4, 3), nn.LeakyReLU(-0.5)],
        (4,),
    ),
    r"layer 1 \(Flatten\) flattens from start_dim=-1": (
        [nn.Linear(4, 3), nn.Flatten(-1)],
        (4,),
    ),
}


@pytest.mark.parametrize("reason", UNCOVERED)
def test_a_layer_without_analysis_is_named(reason):
    layers, shape = UNCOVERED[reason]
    model = nn.Sequential(*layers).double().eval()
    problem = igsref.as_problem(model, (gaussian(1, 5, *shape), classes(2, 5, 3)))
    assert_refused(problem, reason)


def assert_refused(problem, reason):
    K = problem.likelihood.contrast(problem.logits).double()
    for call in (lambda: logit_error(problem), lambda: row_error(problem, K)):
        with pytest.raises(ValueError, match=f"no running error analysis: {reason}"):
            call()


def test_other_networks_and_inputs_have_no_analysis():
    assert_refused(igsref.as_problem(*pair("tied weights")), "not a sequential network")
    model, (x, y) = pair("MLP with relu")
    problem = igsref.as_problem(model, (x, y))
    assert unsupported(problem) is None
    assert_refused(problem.astype(torch.float32), "logits are in torch.float32")
    named = igsref.as_problem(model, {"input": x, "labels": y})
    assert_refused(named, "the network's input is not one floating-point tensor")


def pair(name):
    model, x, y = architecture(name, 1, 4)
    return model, (x, y)
