"""Bounds on the rank of F, against exact ranks of rational Jacobians."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import igsref
from igsref.curvature.factor import differences
from igsref.curvature.rank_bound import RankBound, _structural_bounds, rank_bound
from igsref.curvature.symmetries import network_graph
from igsref.likelihoods import Categorical
from tests.curvature.jets import Residual, exact_rank
from tests.curvature.networks import (
    Network,
    batch_norm,
    check_rank,
    dyadic_,
    frozen,
    labelled,
    perceptron,
    sequence,
    some_inputs,
    tied,
)
from tests.strategies import classes, fill_, gaussian

CASES = 240
"""Random networks."""


def draw_perceptron(pick: Callable[..., int], activations: Sequence[type]) -> nn.Sequential:
    """One to four linear layers of one to four units."""
    widths = [pick(1, 4) for _ in range(pick(1, 4))]
    layers: list[nn.Module] = [nn.Linear(pick(1, 3), widths[0], bias=pick(0, 3) > 0)]
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [activations[pick(0, len(activations) - 1)]()]
        layers += [nn.Linear(fan_in, fan_out, bias=pick(0, 3) > 0)]
    return nn.Sequential(*layers)


def draw_convolutional(pick: Callable[..., int], activations: Sequence[type]) -> nn.Sequential:
    """Two small convolutions, the second grouped at times, a pool at times, a linear layer."""
    groups, width = pick(1, 2), pick(1, 2)
    activation = activations[pick(0, len(activations) - 1)]
    layers = [
        nn.Conv1d(1, 2, 2, bias=pick(0, 1) > 0),
        activation(),
        *[[nn.MaxPool1d(2), nn.AvgPool1d(2), nn.Identity()][pick(0, 2)]],
        nn.Conv1d(2, 2 * width, 1, groups=groups, bias=pick(0, 1) > 0),
        activation(),
        nn.Flatten(),
    ]
    length = 4 if isinstance(layers[2], nn.Identity) else 2
    return nn.Sequential(*layers, nn.Linear(2 * width * length, pick(1, 3)))


def draw_normalised(pick: Callable[..., int], activations: Sequence[type]) -> nn.Sequential:
    """A linear layer, a sum around two others, a linear layer; batch norms at times."""
    width, hidden = pick(1, 3), pick(1, 2)

    def layer(fan_in: int, fan_out: int) -> list[nn.Module]:
        linear = nn.Linear(fan_in, fan_out, bias=pick(0, 1) > 0)
        return [linear, batch_norm(fan_out, affine=pick(0, 5) > 0)] if pick(0, 3) else [linear]

    def bend() -> nn.Module:
        return activations[pick(0, len(activations) - 1)]()

    block = Residual(*layer(width, hidden), bend(), *layer(hidden, width))
    layers = [*layer(pick(1, 3), width), bend(), *[block] * pick(0, 1), bend()]
    return nn.Sequential(*layers, nn.Linear(width, pick(1, 3)))


def draw_inputs(pick: Callable[..., int], shape: Sequence[int], samples: int) -> Tensor:
    """Small multiples of 1/4; at times with zero, constant or equal columns and equal rows."""
    generator = torch.Generator().manual_seed(pick(0, 2**20))
    x = torch.randint(-12, 13, (samples, *shape), generator=generator).double() / 4
    first, last = x[..., 0], x[..., -1]
    kind = pick(0, 9)
    if kind == 0:
        first.zero_()
    elif kind == 1:
        first.fill_(1.5)
    elif kind == 2:
        first.copy_(last.clone())
    elif kind == 3:
        x[samples // 2 :] = x[: samples - samples // 2].clone()
    return x


@dataclass(frozen=True)
class Case:
    kind: str
    bound: RankBound
    rank: int


@cache
def case(seed: int) -> Case:
    """One random network with its bound and its exact rank."""
    generator = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    kind = ["leaky", "ReLU", "mixed", "coarse", "convolutional", "normalised"][seed % 6]
    activations = {
        "leaky": [nn.LeakyReLU],
        "ReLU": [nn.ReLU],
        "mixed": [nn.LeakyReLU, nn.Softsign, nn.Identity],
        "coarse": [nn.ReLU, nn.LeakyReLU],
        "convolutional": [nn.LeakyReLU, nn.ReLU],
        "normalised": [nn.LeakyReLU, nn.Softsign],
    }[kind]
    own = {"convolutional": draw_convolutional, "normalised": draw_normalised}
    draw = own.get(kind, draw_perceptron)
    model = dyadic_(draw(pick, activations), seed, coarse=kind == "coarse").eval()
    outputs = model[-1].out_features
    choices = ["bernoulli", "gaussian"] + ["categorical"] * 4 * (outputs > 1)
    likelihood = choices[pick(0, len(choices) - 1)]
    shape = (1, 5) if kind == "convolutional" else (model[0].in_features,)
    count = sum(value.numel() for value in model.parameters())
    rows = outputs - (likelihood == "categorical")
    x = draw_inputs(pick, shape, pick(1, 4 * count // (3 * rows) + 3))
    chosen = ["*", "*", "*", "*", "*weight", "[1-9]*", "0*"][pick(0, 6)]
    chosen = chosen if any(n[0] != "0" for n, _ in model.named_parameters()) else "*"
    problem = igsref.as_problem(
        model,
        (x, labelled(seed, len(x), outputs, likelihood)),
        likelihood=likelihood,
        parameters=chosen,
    )
    return Case(kind, rank_bound(problem), exact_rank(model, problem))


@pytest.mark.long
def test_the_exact_rank_is_never_above_the_bound():
    above = [seed for seed in range(CASES) if case(seed).rank > case(seed).bound.value]
    assert not above


@pytest.mark.long
def test_every_bound_is_attained_many_times():
    attained = [case(seed) for seed in range(CASES) if case(seed).rank == case(seed).bound.value]
    assert len(attained) > CASES / 2
    sources = Counter(found.bound.source for found in attained)
    assert min(sources.values()) >= 8 and len(sources) == 5
    kinds = Counter(found.kind for found in attained)
    assert min(kinds.values()) >= 12 and len(kinds) == 6


def columns(**values: float) -> Tensor:
    """Inputs with three columns x0, x1, x2, some of them constant."""
    x = some_inputs(40, 3)
    for name, value in values.items():
        x[:, int(name[1:])] = value
    return x


def equal_columns() -> Tensor:
    x = some_inputs(40, 3)
    x[:, 1] = x[:, 2]
    return x


INPUTS = {
    "zero": (lambda: perceptron(3, 3, 3), columns(x0=0), 7 + 3, {}),
    "constant beside a bias": (lambda: perceptron(3, 3, 3), columns(x1=1.5), 7 + 3, {}),
    "equal": (lambda: perceptron(3, 3, 3), equal_columns(), 7 + 3, {}),
    "two zeros": (lambda: perceptron(3, 3, 3), columns(x0=0, x2=0), 7 + 6, {}),
    "constant alone": (lambda: perceptron(3, 3, 3, bias=False), columns(x1=1.5), 6, {}),
    "two constants": (lambda: perceptron(3, 3, 3, bias=False), columns(x1=1.5, x2=-1), 6 + 3, {}),
    # The weights on it stand in for the bias.
    "constant beside a frozen bias": (
        lambda: frozen(perceptron(3, 3, 3), "0.bias"), columns(x1=1.5), 4, {"more": 3}
    ),
    "zero beside a frozen bias": (
        lambda: frozen(perceptron(3, 3, 3), "0.bias"), columns(x1=0), 4 + 3, {}
    ),
    "frozen weights": (lambda: frozen(perceptron(3, 3, 3), "0.weight"), columns(x1=0), 4, {}),
    "one layer": (lambda: perceptron(3, 4), columns(x0=0), 4 + 3, {}),
    "one layer, gaussian": (
        lambda: perceptron(3, 2), columns(x0=0), 2, {"likelihood": "gaussian"}
    ),
    "bent first": (sequence(nn.LeakyReLU(), *perceptron(3, 3, 3)), columns(x0=0), 7, {"more": 3}),
    "flattened first": (sequence(nn.Flatten(), *perceptron(3, 3, 3)), columns(x0=0), 7 + 3, {}),
    "tied layers": (
        lambda: tied("weight", "bias", between=nn.Softsign), columns(x0=0)[:, :2], 2 + 1, {}
    ),
}  # fmt: skip
"""Name → network, inputs, what the bound takes off m, options."""


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_that_span_less_lower_the_bound_and_the_rank(name):
    build, x, less, options = INPUTS[name]
    check_rank(Network(build, (), less, **options), x)


@pytest.mark.parametrize("tied_to", ["weight", "bias"])
def test_a_first_bias_that_is_used_again_spans_nothing_with_constant_inputs(tied_to):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 3))
    setattr(model[2], tied_to, model[0].bias)
    data = columns(x0=1.5).double(), classes(1, 40, 3)
    problem = igsref.as_problem(fill_(model.double(), 1), data)
    assert rank_bound(problem) == RankBound(problem.num_parameters - 5, "symmetries of the network")


def test_few_inputs_span_no_more_than_their_number():
    model, problem = Network(lambda: perceptron(6, 1, 4), (), 0).instance(0, some_inputs(3, 6))
    # 15 parameters: of the first 7, three along the inputs; one unit, 1 + 1 shifts.
    assert rank_bound(problem) == RankBound(8, "symmetries and inputs of the network")
    assert exact_rank(model, problem) == 7


def test_zeros_of_either_sign_span_no_more_than_one_column():
    x = torch.tensor([[0.0, 0.0], [0.0, -0.0], [-0.0, 0.0], [-0.0, -0.0]])
    model, problem = Network(lambda: perceptron(2, 2, 2, bias=False), (), 0).instance(0, x)
    # Of 8 parameters two are unseen; two units, two shifts.
    assert rank_bound(problem) == RankBound(2, "symmetries and inputs of the network")
    assert exact_rank(model, problem) == 0


class Masked(nn.Module):
    """Two inputs, and no sequence of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.layer(x * mask)


def test_equal_inputs_count_once_if_all_of_them_are_equal():
    x, mask = torch.ones(6, 6).double(), torch.eye(6)[[0, 0, 1, 1, 1, 2]].bool()
    problem = igsref.as_problem(
        Masked().double(), {"x": x, "mask": mask, "labels": torch.zeros(6).long()}
    )
    assert rank_bound(problem) == RankBound(3 * 2, "distinct inputs")
    assert int(torch.linalg.matrix_rank(differences(problem))) == 3 * 2


def test_equal_inputs_count_once_whatever_their_logits_round_to():
    x = torch.ones(4, 3)
    problem = igsref.as_problem(nn.Linear(3, 3).double(), (x, torch.zeros(4).long()))
    other = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0 + 2**-52]] * 2).double()
    problem = replace(problem, logits=other)
    assert rank_bound(problem) == RankBound(2, "distinct inputs")
    assert int(torch.linalg.matrix_rank(differences(problem))) == 2


@dataclass(frozen=True)
class Own(Categorical):
    """A likelihood of whose contrasts nothing is known."""


def test_of_another_likelihood_only_the_jacobian_is_known():
    data = (some_inputs(2, 2).repeat(20, 1), torch.zeros(40).long())
    model = perceptron(2, 3, 3)
    assert rank_bound(igsref.as_problem(model, data, likelihood=Own())).value == 2 * 3
    data = (some_inputs(40, 2), torch.zeros(40).long())
    assert rank_bound(igsref.as_problem(model, data, likelihood=Own())).value == 21 - 3


def test_zeros_of_different_sign_are_different_inputs():
    def tell_apart(theta: dict[str, Tensor], x: Tensor) -> Tensor:
        sign = torch.copysign(torch.ones_like(x), x)
        return theta["a"] * (1 + sign) + theta["b"] * (1 - sign)

    theta = {"a": torch.ones(1).double(), "b": torch.ones(1).double()}
    x = torch.tensor([[0.0], [-0.0]])
    problem = igsref.as_problem((tell_apart, theta), (x, torch.ones(2, 1)), likelihood="gaussian")
    assert rank_bound(problem) == RankBound(2, "rows")
    assert int(torch.linalg.matrix_rank(differences(problem))) == 2


def test_a_network_whose_layers_hold_no_parameters_has_no_symmetries():
    model = nn.Sequential(nn.Identity())
    model.register_parameter("unused", nn.Parameter(torch.ones(1)))
    problem = igsref.as_problem(model, (gaussian(0, 5, 2), classes(1, 5, 2)))
    assert rank_bound(problem) == RankBound(1, "parameters")


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_units_without_weights_are_not_counted():
    model = dyadic_(perceptron(2, 0, 3, 0, 2, bias=False), 0, coarse=False)
    model[-1].bias = nn.Parameter(torch.ones(2).double())
    problem = igsref.as_problem(model, (gaussian(0, 5, 2), classes(1, 5, 2)))
    assert rank_bound(problem) == RankBound(1, "symmetries of the network")
    assert exact_rank(model, problem) == 1


@pytest.mark.parametrize("before, shape", [(nn.Identity(), (1, 4)), (nn.Flatten(), (1, 1, 4))])
def test_a_convolution_without_samples_in_front_keeps_its_channels_apart(before, shape):
    # One sample (1, 4) is a channel to the convolution; its two channels then share the weights
    # of the linear layer. Rows bound such a problem lower, so the others are asked by themselves.
    layers = [nn.Conv1d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3), nn.ReLU()]
    model = nn.Sequential(before, *layers, nn.Conv1d(2, 1, 1)).double()
    problem = igsref.as_problem(model, (some_inputs(*shape), torch.zeros(1).long()))
    graph = network_graph(problem)
    bounds = _structural_bounds(problem, graph)
    assert [bound.value for bound in bounds] == [problem.num_parameters]
