"""Networks whose float64 derivatives are exact, and their rows and Gram matrix over the rationals.

Parameters and inputs are small multiples of 1/2, slopes and window sizes powers of
two: no sum or product of autograd rounds, and torch's floats are the truth, kinks included.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from flint import fmpq_mat
from torch import Tensor, nn

import igsref
from tests.linalg.exact import rational


def coarse(seed: int, *shape: int, top: int = 3, unit: int = 2) -> Tensor:
    """Multiples of 1/unit within ±top/unit, often 0."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-top, top + 1, shape, generator=generator).double() / unit


def coarse_(model: nn.Module, seed: int) -> nn.Module:
    """Coarse parameters."""
    with torch.no_grad():
        for number, value in enumerate(model.parameters()):
            value.copy_(coarse(1000 * seed + number, *value.shape))
    return model


def sequence(*layers: nn.Module) -> Callable[[], nn.Sequential]:
    """A maker of a fresh copy: what is shared stays shared."""

    def make() -> nn.Sequential:
        return copy.deepcopy(nn.Sequential(*layers)).double().eval()

    return make


def tied() -> nn.Sequential:
    """Two layers of one weight, a third of their bias."""
    model = nn.Sequential(
        *(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.LeakyReLU(0.25)),
        *(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)),
    )
    model[2].weight = model[0].weight
    model[4].bias = model[2].bias
    return model.double()


def tied_kernels() -> nn.Sequential:
    """Two convolutions of one kernel."""
    model = nn.Sequential(
        *(nn.Conv1d(2, 2, 2), nn.ReLU(), nn.Conv1d(2, 2, 2), nn.Flatten(), nn.Linear(6, 3))
    )
    model[2].weight = model[0].weight
    return model.double()


def frozen(*names: str) -> Callable[[], nn.Sequential]:
    """A perceptron some of whose parameters are constants."""

    def make() -> nn.Sequential:
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)).double()
        for name in names:
            model.get_parameter(name).requires_grad_(False)
        return model

    return make


@dataclass(frozen=True)
class Case:
    """A network, the shape of one of its inputs, options of the problem."""

    build: Callable[[], nn.Sequential]
    shape: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 5

    def problem(self, seed: int) -> tuple[nn.Sequential, igsref.Problem]:
        """The model and its problem, at coarse parameters and inputs."""
        model = coarse_(self.build(), seed)
        x = coarse(seed + 500, self.samples, *self.shape)
        outputs = model(x).shape[1]
        y = torch.arange(self.samples) % outputs
        if self.options.get("likelihood", "categorical") != "categorical":
            y = coarse(seed + 600, self.samples, outputs).abs().clamp(max=1)
        return model, igsref.as_problem(model, (x, y), **self.options)


Leaky = nn.LeakyReLU
CASES = {
    "one layer": Case(sequence(nn.Linear(3, 4)), (3,)),
    "ReLU": Case(sequence(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)), (3,)),
    "leaky, no bias": Case(
        sequence(
            *(nn.Linear(3, 4, bias=False), Leaky(0.25), nn.Linear(4, 4), Leaky(2.0)),
            nn.Linear(4, 3, bias=False),
        ),
        (3,),
    ),
    "shapes": Case(
        sequence(
            *(nn.Dropout(0.5), nn.Flatten(), nn.Linear(6, 3), nn.Identity()),
            *(nn.ReLU(), nn.Linear(3, 2)),
        ),
        (2, 3),
    ),
    "more axes": Case(
        sequence(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2), nn.Flatten(), nn.Linear(8, 3)),
        (4, 3),
    ),
    "Conv1d": Case(
        sequence(
            *(nn.Conv1d(2, 3, 2, stride=2, padding=1), nn.ReLU(), nn.Conv1d(3, 2, 2, dilation=2)),
            *(nn.Flatten(), nn.Linear(4, 3)),
        ),
        (2, 6),
    ),
    "Conv2d": Case(
        sequence(
            *(nn.Conv2d(1, 2, 3, stride=(2, 1), padding=(0, 1)), Leaky(0.5)),
            *(nn.Conv2d(2, 2, (2, 1), dilation=(1, 2), bias=False), nn.Flatten(), nn.Linear(8, 3)),
        ),
        (1, 5, 4),
    ),
    "groups": Case(
        sequence(
            *(nn.Conv2d(2, 4, 2, groups=2), nn.ReLU(), nn.Conv2d(4, 4, 2, groups=4)),
            *(nn.Flatten(), nn.Linear(4, 3)),
        ),
        (2, 3, 3),
    ),
    "grouped Conv1d": Case(
        sequence(nn.Conv1d(4, 2, 2, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 3)), (4, 4)
    ),
    "kernel of the whole input": Case(
        sequence(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 3)), (2, 3, 3)
    ),
    "convolution across units": Case(
        sequence(nn.Conv1d(1, 2, 2), Leaky(0.5), nn.Linear(4, 2), nn.Flatten(), nn.Linear(4, 3)),
        (1, 5),
    ),
    "pools": Case(
        sequence(
            *(nn.Conv2d(1, 2, 2, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.AvgPool2d((2, 1), stride=1), nn.Flatten(), nn.Linear(12, 3)),
        ),
        (1, 6, 5),
    ),
    "windows that overlap": Case(
        sequence(
            *(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2, stride=1)),
            *(nn.Flatten(), nn.Linear(4, 3)),
        ),
        (1, 4, 3),
    ),
    "pool across channels": Case(
        sequence(nn.Conv1d(1, 2, 2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 3)),
        (1, 5),
    ),
    "tied layers": Case(tied, (3,)),
    "tied kernels": Case(tied_kernels, (2, 5)),
    "frozen weights": Case(frozen("0.weight"), (3,)),
    "frozen layer": Case(frozen("2.weight", "2.bias"), (3,)),
    "biases": Case(frozen(), (3,), {"parameters": "*bias"}),
    "two patterns": Case(frozen(), (3,), {"parameters": ["0.weight", "2.b*"]}),
    "tied parameter by its second name": Case(tied, (3,), {"parameters": "2.weight"}),
    "pool": Case(frozen(), (3,), {"fisher_data": coarse(1, 4, 3)}),
    "members": Case(
        frozen(), (3,), {"fisher_data": coarse(500, 5, 3)[[4, 0, 2, 1, 3, 0]],
                         "members": torch.tensor([1, 3, 2, 4, 0])},
    ),
    "gaussian": Case(frozen(), (3,), {"likelihood": "gaussian"}),
    "bernoulli": Case(frozen(), (3,), {"likelihood": "bernoulli"}),
}  # fmt: skip


def naive_rows(model: nn.Module, problem: igsref.Problem) -> Tensor:
    """Rows K_i J_i of θ: one backward pass of the user's model for every row of every sample."""
    named = dict(model.named_parameters())
    theta = [named[name] for name in problem.function.parameters]
    rows = []
    for x, contrast in zip(
        problem.samples.args[0], problem.likelihood.contrast(problem.logits), strict=True
    ):
        for row in contrast:
            (output,) = model(x[None])
            found = torch.autograd.grad(row @ output, theta, allow_unused=True)
            parts = [
                torch.zeros(t.numel()).double() if g is None else g.flatten()
                for t, g in zip(theta, found, strict=True)
            ]
            rows.append(torch.cat(parts))
    return torch.stack(rows)


def exact_gram(rows: Tensor) -> fmpq_mat:
    """D Dᵀ of floats, over the rationals."""
    matrix = rational(rows)
    return matrix * matrix.transpose()
