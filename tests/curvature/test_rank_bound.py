"""Bounds on the rank of F, against exact ranks: rational Jacobians, written as naively as can be.

A *jet* is a number and its derivatives by θ: 1 + m fractions, the last axis of an array. Layers
map arrays of jets to arrays of jets.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from flint import fmpq, fmpq_mat
from torch import Tensor, nn

import igsref
from igsref.curvature.factor import differences
from igsref.curvature.rank_bound import RankBound, _structural_bounds, rank_bound
from igsref.likelihoods import Categorical
from tests.strategies import classes, fill_, gaussian, mlp

CASES = 250
"""Random networks."""


def exact(tensor: Tensor) -> np.ndarray:
    """The same numbers as fractions."""
    values = tensor.detach().double().numpy()
    return np.vectorize(lambda v: fmpq(*float(v).as_integer_ratio()), otypes=[object])(values)


def affine(module: nn.Module, jets: np.ndarray, places: Mapping[int, int]) -> np.ndarray:
    """W h + b for jets h of shape (fan-in, 1 + m); places: id of a tensor in θ → first column."""
    weight = exact(module.weight).reshape(len(module.weight), len(jets))
    out = weight @ jets
    if id(module.weight) in places:
        start = 1 + places[id(module.weight)]
        for i, j in np.ndindex(*weight.shape):
            out[i, start + i * weight.shape[1] + j] += jets[j, 0]
    if module.bias is not None:
        out[:, 0] += exact(module.bias)
        if id(module.bias) in places:
            for i in range(len(out)):
                out[i, 1 + places[id(module.bias)] + i] += 1
    return out


def on_last_axis(module: nn.Linear, jets: np.ndarray, places: Mapping[int, int]) -> np.ndarray:
    lead, (fan_in, size) = jets.shape[:-2], jets.shape[-2:]
    rows = [affine(module, row, places) for row in jets.reshape(math.prod(lead), fan_in, size)]
    return np.stack(rows).reshape(*lead, module.out_features, size)


def windows(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[list]:
    """For each axis, the slices that a kernel covers."""
    return [
        [slice(i, i + k) for i in range(0, n - k + 1, s)]
        for n, k, s in zip(size, kernel, stride, strict=True)
    ]


def convolve(module: Any, jets: np.ndarray, places: Mapping[int, int]) -> np.ndarray:
    """Channels first, (c, *size, 1 + m); of a grouped convolution each group sees its share."""
    cuts = windows(jets.shape[1:-1], module.kernel_size, module.stride)
    size = jets.shape[-1]
    columns = []
    for cut in itertools.product(*cuts):
        patch = jets[:, *cut].reshape(module.groups, -1, size)
        # Every group's rows, of which only its own are kept.
        parts = [affine(module, part, places) for part in patch]
        rows = len(parts[0]) // module.groups
        columns.append(
            np.concatenate([part[g * rows : (g + 1) * rows] for g, part in enumerate(parts)])
        )
    return np.stack(columns, axis=1).reshape(-1, *map(len, cuts), size)


def pool(module: Any, jets: np.ndarray, axes: int) -> np.ndarray:
    """Largest jet, by value, or mean of each window over the last axes, for all that is before."""
    lead, size = jets.shape[: -1 - axes], jets.shape[-1]
    kernel = np.broadcast_to(module.kernel_size, axes).tolist()
    cuts = windows(jets.shape[-1 - axes : -1], kernel, kernel)
    columns = []
    for cut in itertools.product(*cuts):
        patch = jets[..., *cut, :].reshape(math.prod(lead), -1, size)
        if isinstance(module, nn.MaxPool1d | nn.MaxPool2d):
            columns.append([max(row, key=lambda jet: jet[0]) for row in patch])
        else:
            columns.append(patch.sum(axis=1) / fmpq(patch.shape[1]))
    return np.stack(columns, axis=1).reshape(*lead, *map(len, cuts), size)


def bend(module: nn.Module, jet: np.ndarray) -> np.ndarray:
    """An activation of one jet."""
    value = jet[0]
    if isinstance(module, nn.ReLU):
        return jet * (1 if value > 0 else 0)
    if isinstance(module, nn.LeakyReLU):
        return jet * (fmpq(1) if value > 0 else exact(torch.tensor(module.negative_slope))[()])
    assert isinstance(module, nn.Softsign)
    size = 1 + abs(value)
    return np.concatenate([jet[:1] / size, jet[1:] / size**2])


def through(module: Any, jets: np.ndarray, places: Mapping[int, int]) -> np.ndarray:
    """Jets of one layer's outputs; jets have the sample's axis in front, of length 1."""
    if isinstance(module, nn.Linear):
        return on_last_axis(module, jets, places)
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return convolve(module, jets[0], places)[None]
    if isinstance(module, nn.MaxPool1d | nn.AvgPool1d):
        return pool(module, jets, 1)
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return pool(module, jets, 2)
    if isinstance(module, nn.Flatten):
        start, end = module.start_dim, module.end_dim % (jets.ndim - 1)
        return jets.reshape(*jets.shape[:start], -1, *jets.shape[end + 1 :])
    if isinstance(module, nn.Identity | nn.Dropout):
        return jets
    bent = [bend(module, jet) for jet in jets.reshape(-1, jets.shape[-1])]
    return np.array(bent, dtype=object).reshape(jets.shape)


def exact_rank(model: nn.Sequential, problem: igsref.Problem) -> int:
    """Rank of the class differences' (or outputs') Jacobian over the rationals."""
    names = {name: id(value) for name, value in model.named_parameters()}
    sizes = {names[key]: value.numel() for key, value in problem.function.parameters.items()}
    starts = itertools.accumulate(sizes.values(), initial=0)
    places = dict(zip(sizes, starts, strict=False))
    rows = []
    for x in problem.samples.args[0]:
        jets = np.full((1, *x.shape, 1 + sum(sizes.values())), fmpq(0), dtype=object)
        jets[0, ..., 0] = exact(x)
        for module in model:
            jets = through(module, jets, places)
        J = jets[0, :, 1:]
        rows.append(J[1:] - J[0] if problem.likelihood.name == "categorical" else J)
    D = np.concatenate(rows)
    return fmpq_mat(*D.shape, list(D.flatten())).rank()


def labelled(seed: int, samples: int, outputs: int, likelihood: str) -> Tensor:
    if likelihood == "categorical":
        return classes(seed, samples, outputs)
    return classes(seed, samples * outputs, 2).view(samples, outputs).double()


def dyadic_(model: nn.Module, seed: int, *, coarse: bool) -> nn.Module:
    """Few-digit parameters: coarse ones are −2..2 (zeros, ties, dead units), others k/32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            top, unit = (2, 1) if coarse else (63, 32)
            value.copy_(torch.randint(-top, top + 1, value.shape, generator=generator) / unit)
    return model.double()


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

    kind = ["leaky", "ReLU", "mixed", "coarse", "convolutional"][seed % 5]
    activations = {
        "leaky": [nn.LeakyReLU],
        "ReLU": [nn.ReLU],
        "mixed": [nn.LeakyReLU, nn.Softsign, nn.Identity],
        "coarse": [nn.ReLU, nn.LeakyReLU],
        "convolutional": [nn.LeakyReLU, nn.ReLU],
    }[kind]
    draw = draw_convolutional if kind == "convolutional" else draw_perceptron
    model = dyadic_(draw(pick, activations), seed, coarse=kind == "coarse")
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
    assert min(kinds.values()) >= 20 and len(kinds) == 5


def perceptron(*widths: int, between: type = nn.LeakyReLU, bias: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [between()] * bool(layers) + [nn.Linear(fan_in, fan_out, bias=bias)]
    return nn.Sequential(*layers)


def tied(*shared: str, between: type = nn.LeakyReLU) -> nn.Sequential:
    """Three layers, of which the first two share tensors."""
    model = perceptron(2, 2, 2, 3, between=between)
    for name in shared:
        setattr(model[2], name, getattr(model[0], name))
    return model


def frozen(model: nn.Sequential, *names: str) -> nn.Sequential:
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return model


def with_constant_bias() -> nn.Sequential:
    """A first bias that is a buffer, not a parameter."""
    model = perceptron(2, 3, 3)
    bias = torch.tensor([0.5, -0.25, 1.0], dtype=torch.float64)
    del model[0].bias
    model[0].register_buffer("bias", bias)
    return model


@dataclass(frozen=True)
class Network:
    """A network whose rank m − k − more is known: k that the bound counts, more that it does not.

    What stands still beyond k is a common scaling of several units.
    """

    build: Callable[[], nn.Sequential]
    shape: tuple[int, ...]
    k: int
    more: int = 0
    likelihood: str = "categorical"
    parameters: str = "*"

    def instance(self, seed: int, x: Tensor) -> tuple[nn.Sequential, igsref.Problem]:
        model = dyadic_(self.build(), seed, coarse=False)
        outputs = model(x[:1].double()).shape[1]
        data = (x, labelled(1, len(x), outputs, self.likelihood))
        return model, igsref.as_problem(
            model, data, likelihood=self.likelihood, parameters=self.parameters
        )


def some_inputs(*shape: int) -> Tensor:
    return torch.randint(-12, 13, shape, generator=torch.Generator().manual_seed(1)) / 4


def sequence(*layers: nn.Module) -> Callable[[], nn.Sequential]:
    """The same modules each time; ``dyadic_`` gives them new parameters."""
    return lambda: nn.Sequential(*layers)


Leaky, Soft, Linear, Flatten = nn.LeakyReLU, nn.Softsign, nn.Linear, nn.Flatten
NETWORKS = {
    "perceptron": Network(lambda: perceptron(2, 3, 3), (2,), 3 + 3 + 1),
    "ReLU": Network(lambda: perceptron(2, 3, 3, between=nn.ReLU), (2,), 3 + 3 + 1),
    "without biases": Network(lambda: perceptron(3, 3, 3, bias=False), (3,), 3 + 3),
    "deeper": Network(lambda: perceptron(3, 3, 2, 3), (3,), 3 + 2 + 2 + 1),
    "one unit a layer": Network(lambda: perceptron(1, 1, 2), (1,), 1 + 1 + 1),
    "two classes": Network(lambda: perceptron(2, 3, 2), (2,), 3 + 3 + 1),
    "gaussian": Network(lambda: perceptron(2, 3, 2), (2,), 3, likelihood="gaussian"),
    "bernoulli": Network(lambda: perceptron(2, 3, 1), (2,), 3, likelihood="bernoulli"),
    "one layer": Network(lambda: perceptron(3, 4), (3,), 3 + 1),
    "one layer, gaussian": Network(lambda: perceptron(3, 2), (3,), 0, likelihood="gaussian"),
    "identities": Network(
        sequence(Linear(2, 3), nn.Dropout(0), Leaky(), Linear(3, 3), nn.Identity()), (2,), 3 + 3 + 1
    ),
    # Not homogeneous.
    "softsign": Network(lambda: perceptron(2, 3, 3, between=Soft), (2,), 3 + 1),
    "first layer homogeneous": Network(
        sequence(*perceptron(2, 3, 2), Soft(), Linear(2, 3)), (2,), 3 + 2 + 1
    ),
    "second layer homogeneous": Network(
        sequence(Linear(2, 2), Soft(), *perceptron(2, 3, 2)), (2,), 3 + 3 + 1
    ),
    "bent logits": Network(sequence(*perceptron(2, 3, 3), Soft()), (2,), 3),
    # Parameters left out, or used twice.
    "weights": Network(lambda: perceptron(2, 3, 3), (2,), 3, parameters="*weight"),
    "biases": Network(lambda: perceptron(2, 3, 3), (2,), 1, parameters="*bias"),
    "last layer": Network(lambda: perceptron(2, 3, 3), (2,), 3 + 1, parameters="2.*"),
    "first layer": Network(lambda: perceptron(2, 3, 3), (2,), 0, parameters="0.*"),
    "first bias frozen": Network(lambda: frozen(perceptron(2, 3, 3), "0.bias"), (2,), 3 + 1),
    "last bias frozen": Network(lambda: frozen(perceptron(2, 3, 3), "2.bias"), (2,), 3 + 3),
    "first bias no parameter": Network(with_constant_bias, (2,), 3 + 1),
    "tied weights": Network(lambda: tied("weight"), (2,), 2 + 1, more=1),
    "tied biases": Network(lambda: tied("bias"), (2,), 2 + 1, more=2),
    "tied layers": Network(lambda: tied("weight", "bias", between=Soft), (2,), 2 + 1),
    # Channels.
    "convolutions": Network(
        sequence(nn.Conv1d(1, 2, 2), Leaky(), nn.Conv1d(2, 2, 2), Leaky(), Flatten(), Linear(6, 3)),
        (1, 5),
        2 + 2 + 6 + 1,
    ),
    "grouped convolution": Network(
        sequence(
            *(nn.Conv1d(1, 4, 2), Leaky(), nn.Conv1d(4, 2, 2, groups=2)),
            *(Leaky(), Flatten(), Linear(6, 3)),
        ),
        (1, 5),
        4 + 2 + 6 + 1,
    ),
    "pools": Network(
        sequence(
            *(nn.Conv2d(1, 2, 2), nn.MaxPool2d(2), Leaky(), nn.Conv2d(2, 2, 1, bias=False)),
            *(Leaky(), nn.AvgPool2d(2), Flatten(), Linear(2, 3)),
        ),
        (1, 5, 5),
        2 + 2 + 2 + 1,
    ),
    "units spread over the last axis": Network(
        sequence(Linear(2, 2), Leaky(), Flatten(), Linear(4, 3)), (2, 2), 2 + 4 + 1
    ),
    # Units that do not arrive as units.
    "linear across positions": Network(
        sequence(nn.Conv1d(1, 2, 2), Leaky(), Linear(4, 2), Leaky(), Flatten(), Linear(4, 3)),
        (1, 5),
        2 + 4 + 1,
        more=1,
    ),
    "positions flattened": Network(
        sequence(
            *(nn.Conv2d(1, 2, 2), Leaky(), Flatten(2), Linear(4, 2)),
            *(Leaky(), Flatten(), Linear(4, 3)),
        ),
        (1, 3, 3),
        2 + 4 + 1,
        more=1,
    ),
    "channels flattened into another axis than the last": Network(
        sequence(
            *(nn.Conv2d(1, 2, 2), Leaky(), Flatten(1, 2), Linear(2, 2)),
            *(Leaky(), Flatten(), Linear(8, 3)),
        ),
        (1, 3, 3),
        2 + 8 + 1,
        more=1,
    ),
    "convolution across units": Network(
        sequence(Linear(3, 3), Leaky(), nn.Conv1d(1, 2, 2), Leaky(), Flatten(), Linear(4, 3)),
        (1, 3),
        2 + 4 + 1,
        more=1,
    ),
    "pool across units": Network(
        sequence(Linear(2, 4), Leaky(), nn.MaxPool1d(2), Flatten(), Linear(4, 3)),
        (2, 2),
        4 + 1,
        more=2,
    ),
    "pool across channels": Network(
        sequence(nn.Conv1d(1, 2, 2), Leaky(), nn.AvgPool2d(2), Flatten(), Linear(2, 3)),
        (1, 5),
        2 + 1,
        more=1,
    ),
    "pool across flattened channels": Network(
        sequence(nn.Conv1d(1, 3, 2), Leaky(), Flatten(), nn.AvgPool1d(2), Linear(4, 3)),
        (1, 4),
        4 + 1,
        more=2,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_its_bound_and_attains_it(name):
    network = NETWORKS[name]
    ranks = []
    for seed in range(6):  # some have dead or always active units, and so a lower rank
        model, problem = network.instance(seed, some_inputs(40, *network.shape))
        expected = problem.num_parameters - network.k
        source = "symmetries of the network" if network.k else "parameters"
        assert rank_bound(problem) == RankBound(expected, source)
        ranks.append(exact_rank(model, problem))
        if ranks[-1] == expected - network.more:
            break
    assert max(ranks) == expected - network.more


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
    "bent first": (sequence(Leaky(), *perceptron(3, 3, 3)), columns(x0=0), 7, {"more": 3}),
    "flattened first": (sequence(Flatten(), *perceptron(3, 3, 3)), columns(x0=0), 7 + 3, {}),
    "tied layers": (
        lambda: tied("weight", "bias", between=Soft), columns(x0=0)[:, :2], 2 + 1, {}
    ),
}  # fmt: skip
"""Name → network, inputs, what the bound takes off m, options."""


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_that_span_less_lower_the_bound_and_the_rank(name):
    build, x, less, options = INPUTS[name]
    network = Network(build, (), less, **options)
    ranks = []
    for seed in range(6):
        model, problem = network.instance(seed, x)
        expected = problem.num_parameters - less
        assert rank_bound(problem).value == expected
        ranks.append(exact_rank(model, problem))
        if ranks[-1] == expected - network.more:
            break
    assert max(ranks) == expected - network.more


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


@pytest.mark.parametrize("samples, expected", [(3, (6, "rows")), (40, (27, "parameters"))])
def test_of_other_models_only_sizes_are_known(samples, expected):
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = perceptron(2, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    problem = igsref.as_problem(Wrapped(), (gaussian(0, samples, 2), classes(1, samples, 3)))
    assert rank_bound(problem) == RankBound(*expected)


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
    bounds = _structural_bounds(problem, problem.function.layers)
    assert [bound.value for bound in bounds] == [problem.num_parameters]


def clear_rank(matrix: Tensor) -> int:
    """Rank in float64, of a matrix whose spectrum leaves no doubt."""
    sizes = torch.linalg.svdvals(matrix / matrix.norm(dim=0).clamp_min(1e-300))
    rank = int((sizes > 1e-10 * sizes[0]).sum())
    assert sizes[rank:].sum() < 1e-13 * sizes[0]
    return rank


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid])
@pytest.mark.parametrize("likelihood, null", [("categorical", 3 + 1), ("gaussian", 0)])
def test_smooth_networks_attain_their_bound(activation, likelihood, null):
    model = mlp(3, [2, 3, 2], activation)
    x, y = gaussian(1, 60, 2), labelled(2, 60, 2, likelihood)
    problem = igsref.as_problem(model, (x, y), likelihood=likelihood)
    assert rank_bound(problem).value == 17 - null
    assert clear_rank(differences(problem)) == 17 - null


@pytest.mark.parametrize(
    "middle", [nn.BatchNorm1d(3), nn.LayerNorm(3), nn.ReLU6(), nn.Softmax(dim=1), nn.Hardtanh()]
)
def test_layers_that_are_not_homogeneous_free_no_units(middle):
    if isinstance(middle, nn.BatchNorm1d):
        middle.running_mean.copy_(torch.tensor([0.5, -0.5, 0.25]))
    layers = [nn.Linear(2, 3), middle, nn.LeakyReLU(), nn.Linear(3, 3)]
    model = fill_(nn.Sequential(*layers).double(), 1).eval()
    problem = igsref.as_problem(model, (gaussian(1, 60, 2), classes(2, 60, 3)))
    assert rank_bound(problem).value == problem.num_parameters - 4
    assert clear_rank(differences(problem)) <= problem.num_parameters - 4
