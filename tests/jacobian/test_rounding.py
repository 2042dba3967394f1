"""What the estimate of rounding calls noise, and what it does not."""

from fractions import Fraction

import pytest
import torch
from torch import nn

import igsref
from igsref.jacobian.rounding import estimate_logit_error, estimate_rounding
from igsref.jacobian.rows import jacobian_rows
from tests.closeness import EPS
from tests.strategies import ACTIVATIONS, architecture, classes, fill_, gaussian, mlp


def estimate(model, x, y, *, seed=0):
    problem = igsref.as_problem(model, (x, y))
    K = problem.likelihood.contrast(problem.logits)
    return problem, estimate_rounding(problem, K, jacobian_rows(problem, K), seed=seed)


def noisy_entries(problem, noise):
    """Name → indices within the flattened parameter that are noise columns."""
    parts = noise.split([v.numel() for v in problem.function.parameters.values()])
    found = zip(problem.function.parameters, parts, strict=True)
    return {name: part.nonzero()[:, 0].tolist() for name, part in found if part.any()}


def test_the_key_bias_of_attention_is_all_the_noise_there_is():
    problem, rounding = estimate(*architecture("attention and embedding", 1, 12))
    # in_proj_bias holds query, key and value; softmax does not see the key's.
    expected = {"attention.in_proj_bias": [4, 5, 6, 7]}
    assert noisy_entries(problem, rounding.noise) == expected


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
@pytest.mark.parametrize("seed", range(5))
def test_an_mlp_has_no_noise_column(activation, seed):
    model = mlp(seed, [3, 6, 5, 3], activation)
    _, rounding = estimate(model, gaussian(seed + 1, 20, 3), classes(seed + 2, 20, 3))
    assert not rounding.noise.any()


def test_a_bias_before_a_normalisation_is_noise():
    model = nn.Sequential(
        nn.Conv1d(1, 2, 2), nn.InstanceNorm1d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    )
    model = fill_(model.double(), 0).eval()
    problem, rounding = estimate(model, gaussian(1, 10, 1, 5), classes(2, 10, 3))
    assert noisy_entries(problem, rounding.noise) == {"0.bias": [0, 1]}


def test_noise_alone_is_told_by_the_largest_entries_of_whole_rows():
    """Beside itself it is not small: some columns do not say whether they are noise."""
    model, x, y = architecture("attention and embedding", 1, 12)
    problem = igsref.as_problem(model, (x, y))
    K = problem.likelihood.contrast(problem.logits)
    rows, columns = jacobian_rows(problem, K), slice(80, 84)
    peaks = rows.abs().amax(dim=1).view(12, 2)
    asked = []

    def largest(chosen):
        asked.extend(chosen.tolist())
        return peaks[chosen].flatten()

    part = rows[:, columns].contiguous()
    alone = estimate_rounding(problem, K, part, columns=columns)
    beside = estimate_rounding(problem, K, part, columns=columns, largest=largest)
    assert not alone.noise.any()
    assert beside.noise.all()
    assert len(set(asked)) == len(asked) <= 12


class ShiftBeforeSoftmax(nn.Module):
    """A bias that all entries of a softmax share, so that nothing depends on it."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([0.3], dtype=torch.float64))
        self.inner, self.outer = mlp(0, [3, 4], nn.Tanh), mlp(1, [4, 3], nn.Tanh)

    def forward(self, x):
        return self.outer((self.inner(x) + self.shift).softmax(dim=1))


def test_a_shift_that_softmax_does_not_see_is_noise():
    problem, rounding = estimate(ShiftBeforeSoftmax(), gaussian(1, 12, 3), classes(2, 12, 3))
    assert noisy_entries(problem, rounding.noise) == {"shift": [0]}


def kinked():
    """A hidden unit that stands at exactly 0 for the first sample, where x₀ = x₁."""
    model = mlp(3, [2, 3, 3], nn.ReLU)
    with torch.no_grad():
        model[0].weight[0] = torch.tensor([1.0, -1.0])
        model[0].bias[0] = 0.0
    x = gaussian(4, 8, 2)
    x[0] = 0.01  # so small that its flip does not spoil whole columns
    return model, x, classes(5, 8, 3)


@pytest.mark.parametrize("seed", range(4))
def test_a_relu_at_exactly_zero_is_neither_noise_nor_rounding(seed):
    model, x, y = kinked()
    assert float(model[0](x)[0, 0].detach()) == 0
    _, rounding = estimate(model, x, y, seed=seed)
    assert not rounding.noise.any()
    assert rounding.relative < 1e3 * EPS


def test_a_dead_unit_is_not_noise():
    model = mlp(3, [2, 3, 3], nn.ReLU)
    with torch.no_grad():
        model[0].bias[0] = -100.0
    problem, rounding = estimate(model, gaussian(4, 8, 2), classes(5, 8, 3))
    assert not rounding.noise.any()
    assert problem.num_parameters == len(rounding.noise)


def test_a_small_column_that_has_digits_is_not_noise():
    model = mlp(3, [2, 4, 3], nn.Tanh)
    x, y = gaussian(4, 8, 2), classes(5, 8, 3)
    x[:, 0] *= 1e-13
    _, rounding = estimate(model, x, y)
    assert not rounding.noise.any()


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_a_benign_network_are_known_to_a_few_units(seed):
    model = mlp(seed, [3, 5, 3], nn.Tanh)
    _, rounding = estimate(model, gaussian(seed + 1, 20, 3), classes(seed + 2, 20, 3))
    assert EPS <= rounding.relative < 1e3 * EPS


def exact_logits(layer, x):
    """W x + b over the rationals."""
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    return [
        [
            sum((Fraction(w) * Fraction(v) for w, v in zip(row, sample, strict=True)), Fraction(b))
            for row, b in zip(weight, bias, strict=True)
        ]
        for sample in x.tolist()
    ]


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_logits_are_known_as_well_as_is_said(size):
    layer, x = mlp(1, [6, 3], nn.Tanh), gaussian(2, 20, 6)
    x[:, 1] = size  # a large term, which another takes away
    x[:, 2] = -size
    with torch.no_grad():
        layer[0].weight[:, 2] = layer[0].weight[:, 1]
    problem = igsref.as_problem(layer, (x, classes(3, 20, 3)))
    stated = estimate_logit_error(problem)
    for value, exact, bound in zip(
        problem.logits.flatten().tolist(),
        [f for row in exact_logits(layer[0], x) for f in row],
        stated.flatten().tolist(),
        strict=True,
    ):
        assert abs(Fraction(value) - Fraction(exact)) <= bound
    assert float(stated.max()) < 100 * EPS * (1 + size)


def test_an_input_with_a_large_common_shift_is_known_badly():
    model = nn.Sequential(nn.LayerNorm(3, elementwise_affine=False), nn.Linear(3, 3)).double()
    _, near = estimate(model, gaussian(1, 8, 3), classes(2, 8, 3))
    _, far = estimate(model, gaussian(1, 8, 3) + 2.0**23, classes(2, 8, 3))
    assert far.relative > 1e5 * near.relative


def test_frozen_parameters_count_in_the_rounding_of_the_logits():
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        model[2].bias.fill_(1e8)
    data = (gaussian(1, 6, 2), classes(2, 6, 3))
    problem = igsref.as_problem(model, data, parameters="0.*")
    assert float(estimate_logit_error(problem).min()) > 1e8 * EPS


def test_the_estimate_is_a_function_of_the_seed_and_leaves_the_global_state():
    case = architecture("attention and embedding", 1, 6)
    state = torch.get_rng_state()
    (_, first), (_, again) = (estimate(*case, seed=4) for _ in range(2))
    assert first.relative == again.relative
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(torch.get_rng_state(), state)
