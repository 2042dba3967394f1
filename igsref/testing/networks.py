"""Small networks with data, drawn from a seed: what transformations are tried on.

A family is a recipe; a network is a function of its family and seed. Parameters are random, and
half of the networks are then trained for a few steps. Half of the dense ones have fewer parameters
than rows N(C−1), so that not all are saturated. Relative to the largest, no input of a ReLU is
within 1e-6 of its kink and no two logits of a sample are within 1e-6 of each other: rounding flips
neither unit nor decision. Modules say ``Any`` of what they are called with, since torch.fx calls
them with stand-ins for tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, Tensor, nn

from igsref.randomness import preserved_random_state

KINK_DISTANCE = 1e-6
_ATTEMPTS = 100
_STEPS = 20
_LARGEST_LOGIT_DIFFERENCE = 25.0
"""Class probabilities stay above e^−25 ≈ 1e-11."""


@dataclass(frozen=True, eq=False)
class Network:
    """A classifier in float64 and evaluation mode, N inputs and their class indices."""

    model: nn.Module
    inputs: Tensor
    labels: Tensor

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        """(x, y)."""
        return self.inputs, self.labels


def draw_network(family: str, seed: int) -> Network:
    """The network of this family and seed; the same one on each call.

    Raises ValueError for an unknown family.
    """
    recipe = find_family(family)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_ATTEMPTS):
        with preserved_random_state():  # torch's layers fill themselves
            network = recipe(generator)
        if _chance(generator):
            _train(network)
        network.model.requires_grad_(True)
        if _is_acceptable(network):
            return network
    raise RuntimeError(f"no acceptable network of family {family!r} and seed {seed}")


def find_family(family: str) -> Callable[[Generator], Network]:
    """The recipe of that name. Raises ValueError, with those there are."""
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {tuple(FAMILIES)}; got {family!r}")
    return FAMILIES[family]


class _Residual(nn.Module):
    """Two residual blocks behind a first layer: their channels are the same ones."""

    def __init__(self, inputs: int, width: int, inner: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.rise = nn.ModuleList(nn.Linear(width, inner) for _ in range(2))
        self.fall = nn.ModuleList(nn.Linear(inner, width) for _ in range(2))
        self.kink = nn.ReLU()
        self.head = nn.Linear(width, classes)

    def forward(self, x: Any) -> Any:
        x = self.kink(self.stem(x))
        for rise, fall in zip(self.rise, self.fall, strict=True):
            x = self.kink(x + fall(self.kink(rise(x))))
        return self.head(x)


class _Transformer(nn.Module):
    """Self-attention over a short sequence, a residual connection and a mean."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Any) -> Any:
        x = self.embed(x)
        return self.head((x + self.attention(x, x, x, need_weights=False)[0]).mean(dim=1))


def _perceptron(activation: Callable[[], nn.Module]) -> Callable[[Generator], Network]:
    def draw(generator: Generator) -> Network:
        hidden = [_integer(generator, 2, 5) for _ in range(_integer(generator, 1, 2))]
        widths = [_integer(generator, 1, 4), *hidden, _integer(generator, 2, 4)]
        bias = _chance(generator)
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out, bias=bias), activation()]
        return _filled(nn.Sequential(*layers[:-1]), (widths[0],), widths[-1], generator)

    return draw


def _convolution(generator: Generator) -> Network:
    channels, classes = _integer(generator, 2, 3), _integer(generator, 2, 3)
    model = nn.Sequential(
        *(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(channels, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2, classes)),
    )
    return _filled(model, (1, 4, 4), classes, generator)


def _normalized_convolution(generator: Generator) -> Network:
    channels, classes = _integer(generator, 2, 3), _integer(generator, 2, 3)
    norm = nn.BatchNorm2d(channels)
    model = nn.Sequential(
        *(nn.Conv2d(1, channels, 2, bias=False), norm, nn.ReLU()),
        *(nn.Conv2d(channels, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, classes)),
    )
    norm.running_mean = 0.3 * _normal(generator, channels)
    norm.running_var = 0.5 + torch.rand(channels, generator=generator, dtype=torch.float32)
    return _filled(model, (1, 4, 4), classes, generator)


def _residual(generator: Generator) -> Network:
    width, inner, classes = (_integer(generator, 2, 4) for _ in range(3))
    return _filled(_Residual(3, width, inner, classes), (3,), classes, generator)


def _transformer(generator: Generator) -> Network:
    classes = _integer(generator, 2, 3)
    return _filled(_Transformer(3, 4, classes), (3, 3), classes, generator)


FAMILIES: dict[str, Callable[[Generator], Network]] = {
    "ReLU perceptron": _perceptron(nn.ReLU),
    "leaky ReLU perceptron": _perceptron(nn.LeakyReLU),
    "tanh perceptron": _perceptron(nn.Tanh),
    "GELU perceptron": _perceptron(nn.GELU),
    "convolution": _convolution,
    "normalized convolution": _normalized_convolution,
    "residual": _residual,
    "attention": _transformer,
}
"""Name → recipe."""


@torch.no_grad()
def _filled(
    model: nn.Module, shape: tuple[int, ...], classes: int, generator: Generator
) -> Network:
    """Parameters N(0, 2/fan-in), biases N(0, 1/4), inputs N(0, 1), labels uniform."""
    model = model.double().eval()
    for value in model.parameters():
        size = (2.0 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.5
        value.copy_(size * _normal(generator, *value.shape))
    rows = sum(value.numel() for value in model.parameters()) // (classes - 1)
    few = _integer(generator, 2, 8)
    samples = rows + few if rows < 60 and _chance(generator) else few
    labels = torch.randint(classes, (samples,), generator=generator)
    return Network(model, _normal(generator, samples, *shape), labels)


@torch.enable_grad()
def _train(network: Network) -> None:
    """A few steps of Adam on the cross-entropy of all samples."""
    optimizer = torch.optim.Adam(network.model.parameters(), lr=0.03)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network.model(network.inputs), network.labels).backward()
        optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def _is_acceptable(network: Network) -> bool:
    """No kink and no decision boundary close by, no probability out of reach."""
    before_kinks: list[Tensor] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args: before_kinks.append(args[0]))
        for module in network.model.modules()
        if isinstance(module, nn.ReLU | nn.LeakyReLU)
    ]
    logits = network.model(network.inputs)
    for hook in hooks:
        hook.remove()
    spread = logits.amax(dim=1) - logits.amin(dim=1)
    clear = all(bool((z.abs() > KINK_DISTANCE * z.abs().max()).all()) for z in before_kinks)
    apart = logits.sort(dim=1).values.diff(dim=1).min()
    within = bool(spread.max() < _LARGEST_LOGIT_DIFFERENCE)
    return clear and within and bool(apart > KINK_DISTANCE * spread.max())


def _normal(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _integer(generator: Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def _chance(generator: Generator) -> bool:
    return bool(torch.rand((), generator=generator, dtype=torch.float32) < 0.5)
