"""Small networks with their data, and all that is handed over with them: what a change changes."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

Forms = Callable[[Any, Any], Any]


@dataclass
class Subject:
    """One call in the making.

    model, x, y: as handed over; form: (x, y) ↦ data, afresh for each call, since data may be read
    only once. options: of the problem; memory, digits: of exact_igs and of certify. context: what
    the call is made under.
    """

    model: Any
    x: Any
    y: Any
    form: Forms = lambda x, y: (x, y)
    options: dict[str, Callable[["Subject"], Any]] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    digits: Mapping[str, Any] = field(default_factory=dict)
    context: Callable[[], AbstractContextManager] = nullcontext

    def arguments(self) -> tuple[tuple[Any, Any], dict[str, Any]]:
        """(model, data), and the options; made anew."""
        options = {name: make(self) for name, make in self.options.items()}
        return (self.model, self.form(self.x, self.y)), options


class Wrapped(nn.Module):
    """A network with something done to its inputs and to its output."""

    def __init__(self, layer: Any, before: Callable, after: Callable) -> None:
        super().__init__()
        self.layer, self.before, self.after = layer, before, after

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.after(self.layer(*map(self.before, args), **kwargs))


class Tied(nn.Module):
    """Two layers that share one weight matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(torch.tanh(self.first(x))))


class Branching(nn.Module):
    """Looks at values, which vmap refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x / 2 if x.abs().max().item() > 1e6 else x)


def _layers(widths: list[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers += [activation()] * (number > 0) + [nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers)


def _perceptron(widths: list[int], activation: Callable[[], nn.Module], samples: int = 5):
    return lambda: (_layers(widths, activation), (samples, widths[0]))


def _convolutional(norm: bool):
    def make() -> tuple[nn.Module, tuple[int, ...]]:
        middle = [nn.BatchNorm2d(2)] if norm else [nn.MaxPool2d(2, 1)]
        size = 2 * (9 if norm else 4)
        layers = [nn.Conv2d(1, 2, 2), *middle, nn.ReLU(), nn.Flatten(), nn.Linear(size, 3)]
        return nn.Sequential(*layers), (4, 1, 4, 4)

    return make


def _embedding() -> tuple[nn.Module, None]:
    return nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(6, 3)), None


_MAKERS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...] | None]]] = {
    "relu": _perceptron([3, 4, 3], nn.ReLU),
    "deep leaky relu": _perceptron([3, 3, 3, 3], nn.LeakyReLU),
    "tanh": _perceptron([3, 4, 3], nn.Tanh),
    "gelu": _perceptron([2, 3, 2], nn.GELU),
    "linear": _perceptron([3, 3], nn.ReLU),
    "tall relu": _perceptron([2, 2, 3], nn.ReLU, samples=12),
    "softplus": _perceptron([3, 4, 3], nn.Softplus),
    "inplace relu": _perceptron([3, 4, 3], lambda: nn.ReLU(inplace=True)),
    "convolution": _convolutional(norm=False),
    "batch norm": _convolutional(norm=True),
    "tied": lambda: (Tied(), (5, 3)),
    "branching": lambda: (Branching(), (5, 3)),
    "tokens": _embedding,
}


def _module(name: str) -> Callable[[torch.Generator], Subject]:
    def make(generator: torch.Generator) -> Subject:
        model, shape = _MAKERS[name]()
        model = model.double().eval()
        with torch.no_grad():
            for value in model.parameters():
                value.copy_(torch.randn(value.shape, generator=generator, dtype=torch.float64))
        if shape is None:
            x = torch.randint(5, (4, 3), generator=generator)
        else:
            x = torch.randn(shape, generator=generator, dtype=torch.float64)
        classes = list(model.parameters())[-1].shape[0]
        return Subject(model, x, torch.randint(classes, x.shape[:1], generator=generator))

    return make


def _pair(generator: torch.Generator) -> Subject:
    params = {"w": torch.randn(3, 3, generator=generator, dtype=torch.float64)}
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (4,), generator=generator)
    return Subject((lambda params, x: torch.tanh(x @ params["w"]), params), x, y)


def _bernoulli(generator: torch.Generator) -> Subject:
    subject = _module("relu")(generator)
    subject.y = (torch.rand(5, 3, generator=generator) > 0.5).double()
    subject.options["likelihood"] = lambda subject: "bernoulli"
    return subject


def _gaussian(generator: torch.Generator) -> Subject:
    subject = _module("relu")(generator)
    subject.y = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    subject.options["likelihood"] = lambda subject: "gaussian"
    return subject


NETWORKS: dict[str, Callable[[torch.Generator], Subject]] = {
    **{name: _module(name) for name in _MAKERS},
    "function": _pair,
    "bernoulli": _bernoulli,
    "gaussian": _gaussian,
}
"""Name → a network with data that all calls take."""
