"""Logits and K = D Dᵀ against torch: to the last digit where its floats are exact, else closely."""

import math

import numpy as np
import pytest
import torch
from flint import ctx
from torch import nn

import igsref
from igsref.exact.arithmetic import BALLS, RATIONALS, Undecided
from igsref.exact.network import is_piecewise_rational, linearised, unsupported
from tests.closeness import EPS, assert_within
from tests.exact.networks import CASES, coarse, exact_gram, naive_rows
from tests.linalg.exact import rational
from tests.strategies import fill_, gaussian, mlp

BITS = 256


def numbers(matrix):
    """A matrix of flint's as an array of its entries."""
    return np.array(matrix.tolist(), dtype=object).reshape(matrix.nrows(), matrix.ncols())


@pytest.mark.parametrize("name", CASES)
def test_rationals_are_what_torch_computes_without_rounding(name):
    model, problem = CASES[name].problem(0)
    found = linearised(problem, RATIONALS)
    assert unsupported(problem) is None and is_piecewise_rational(problem)
    assert (found.logits == numbers(rational(problem.logits))).all()
    assert found.gram.any()
    assert (found.gram == numbers(exact_gram(naive_rows(model, problem)))).all()


@pytest.mark.parametrize("name", CASES)
def test_balls_hold_the_rationals_and_little_else(name):
    _, problem = CASES[name].problem(0)
    exact = linearised(problem, RATIONALS)
    with ctx.workprec(BITS):
        balls = linearised(problem, BALLS)
        for found, truth in ((balls.logits, exact.logits), (balls.gram, exact.gram)):
            for ball, number in zip(found.flat, truth.flat, strict=True):
                assert ball.contains(number)
                assert ball.rad() <= abs(ball) * 2.0 ** (-BITS / 2)


def kinks_met(name):
    """Kinds of layers that stand on a kink for some sample: a 0, or two largest entries."""
    model, problem = CASES[name].problem(0)
    value, met = problem.samples.args[0], set()
    for layer in model:
        if isinstance(layer, nn.ReLU | nn.LeakyReLU) and bool((value == 0).any()):
            met.add(type(layer))
        if isinstance(layer, nn.MaxPool2d):
            windows = nn.functional.unfold(value[:, :1], layer.kernel_size, stride=layer.stride)
            largest, second, *_ = windows.topk(2, dim=1).values.unbind(dim=1)
            met |= {nn.MaxPool2d} if bool((largest == second).any()) else set()
        value = layer(value)
    return met


def test_some_of_these_networks_stand_on_their_kinks():
    met = set.union(*(kinks_met(name) for name in CASES))
    assert met == {nn.ReLU, nn.LeakyReLU, nn.MaxPool2d}


def test_a_shared_weight_is_squared_after_its_uses_are_summed():
    """Squaring use by use would lose the cross terms."""
    model, problem = CASES["tied layers"].problem(0)
    untied = nn.Sequential(*(nn.Linear(3, 3) if hasattr(m, "weight") else m for m in model))
    untied.double().load_state_dict(model.state_dict())
    apart = igsref.as_problem(untied, (problem.samples.args[0], problem.samples.labels))
    alone = linearised(apart, RATIONALS).gram
    assert (alone != linearised(problem, RATIONALS).gram).any()


# Networks that only balls compute, against float64.


def batch_norm(norm, channels, *, affine):
    """Statistics and parameters of size 1."""
    layer = norm(channels, affine=affine).double()
    layer.running_mean.copy_(gaussian(5, channels))
    layer.running_var.copy_(gaussian(6, channels).square() + 0.25)
    return layer


SMOOTH = {
    "tanh": (lambda: mlp(0, [3, 4, 3], nn.Tanh), (3,)),
    "sigmoid": (lambda: mlp(0, [3, 4, 3], nn.Sigmoid), (3,)),
    "SiLU": (lambda: mlp(0, [3, 4, 4, 3], nn.SiLU), (3,)),
    "GELU": (lambda: mlp(0, [3, 4, 4, 3], nn.GELU), (3,)),
    "BatchNorm1d": (
        lambda: nn.Sequential(
            *(nn.Linear(3, 4), batch_norm(nn.BatchNorm1d, 4, affine=True), nn.ReLU()),
            nn.Linear(4, 3),
        ),
        (3,),
    ),
    "BatchNorm1d over positions, not affine": (
        lambda: nn.Sequential(
            *(nn.Conv1d(1, 2, 2), batch_norm(nn.BatchNorm1d, 2, affine=False), nn.Tanh()),
            *(nn.Flatten(), nn.Linear(8, 3)),
        ),
        (1, 5),
    ),
    "BatchNorm2d": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 2, 2), batch_norm(nn.BatchNorm2d, 2, affine=True), nn.LeakyReLU()),
            *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3)),
        ),
        (1, 4, 3),
    ),
    "BatchNorm2d, not affine": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 2, 2), batch_norm(nn.BatchNorm2d, 2, affine=False), nn.GELU()),
            *(nn.AvgPool2d((1, 2)), nn.Flatten(), nn.Linear(6, 3)),
        ),
        (1, 4, 3),
    ),
    "third of a window": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.AvgPool2d((3, 1))),
            *(nn.Flatten(), nn.Linear(4, 3)),
        ),
        (1, 4, 3),
    ),
}


def floats(balls):
    return torch.tensor([[float(v) for v in row] for row in balls], dtype=torch.float64)


@pytest.mark.parametrize("name", SMOOTH)
def test_balls_are_what_torch_computes_up_to_its_rounding(name):
    build, shape = SMOOTH[name]
    model = fill_(build().double(), 3).eval()
    x = gaussian(1, 6, *shape)
    problem = igsref.as_problem(model, (x, torch.arange(6) % 3))
    assert unsupported(problem) is None
    with ctx.workprec(BITS):
        found = linearised(problem, BALLS)
        wide = max(float(v.rad()) for v in found.gram.flat)
        logits, gram = floats(found.logits), floats(found.gram)
    assert wide < 2.0 ** (-BITS / 2)
    # An inner product of k numbers of size 1 is off by k + 1 units, a function by a handful; each
    # of the layers passes on the errors of those below, magnified by weights whose rows have a
    # norm near 1.5. Relative to ‖D_i‖‖D_j‖, K is off by twice what D is.
    inner = sum(math.prod(p.shape[1:]) + 9 for p in model.parameters())
    relative = 1.5 ** len(list(model)) * 2 * inner * EPS
    D = naive_rows(model, problem)
    size = D.norm(dim=1)
    assert_within(gram, D @ D.mT, relative * size[:, None] * size)
    assert_within(logits, problem.logits, relative * (1 + problem.logits.abs().amax()))


def test_a_kink_that_balls_cannot_see_is_left_undecided():
    """tanh 1 − tanh 1, computed as two balls: no precision decides on which side of 0 it is."""
    model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 2), nn.ReLU()).double()
    with torch.no_grad():
        for value in model.parameters():
            value.fill_(1.0)
        model[2].weight.copy_(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
        model[2].bias.zero_()
    problem = igsref.as_problem(model, (torch.zeros(1, 1), torch.tensor([0])))
    with ctx.workprec(BITS), pytest.raises(Undecided, match=r"the sign of .* is open"):
        linearised(problem, BALLS)


# What is refused.


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        return self.inner(x)


X, Y = coarse(0, 4, 3), torch.tensor([0, 1, 0, 1])
ATTENTION = nn.TransformerEncoderLayer(4, 1, 4, batch_first=True)
HOOKED = nn.Sequential(nn.Linear(3, 2), nn.Identity())
HOOKED[1].register_forward_hook(lambda module, args, output: output)
REFUSED = {
    "own class": (Own(), X, {}, "the model is not a sequential network of layers"),
    "picked logits": (
        nn.Linear(3, 2), X, {"logits": lambda f: f}, "the model is not a sequential network"
    ),
    "integers": (
        nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)),
        torch.tensor([[0, 1], [2, 3], [4, 0], [1, 1]]), {}, "not one floating-point tensor"
    ),
    "a layer": (
        nn.Sequential(nn.Linear(3, 2), nn.Softplus()), X, {},
        r"layer 1 \(Softplus\) has no exact arithmetic"
    ),
    "a layer with children": (
        nn.Sequential(
            nn.Linear(3, 4), nn.Sequential(nn.ReLU(), ATTENTION), nn.Flatten(), nn.Linear(8, 2)
        ),
        coarse(0, 4, 2, 3), {}, r"layer 2 \(TransformerEncoderLayer\) has no exact arithmetic"
    ),
    "a hook": (HOOKED, X, {}, "the model is not a sequential network of layers alone: a hook"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_other_problems_have_no_exact_arithmetic(name):
    model, x, options, reason = REFUSED[name]
    found = unsupported(igsref.as_problem(model.double().eval(), (x, Y), **options))
    assert found is not None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found)


def test_another_likelihood_has_no_exact_arithmetic():
    class Renamed(igsref.likelihoods.Gaussian):
        pass

    problem = igsref.as_problem(
        nn.Linear(3, 2).double(), (X, coarse(1, 4, 2)), likelihood=Renamed()
    )
    assert unsupported(problem) == "the likelihood 'gaussian' has no exact arithmetic"


def test_only_smooth_layers_and_square_roots_leave_the_rationals():
    for kind, rational_ in ((nn.ReLU, True), (nn.Tanh, False)):
        problem = igsref.as_problem(mlp(0, [3, 2, 2], kind), (X, Y))
        assert is_piecewise_rational(problem) is rational_
