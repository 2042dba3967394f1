"""A seeded zoo of small networks on which float64 implementations of IGS go wrong.

Each kind breaks another habit: a spectral gap ("trained"), full rank ("rank-deficient",
"duplicated", "dead"), a common scale of the parameters ("badly-scaled"), probabilities away
from 0 and 1 ("confident", "misclassified"). A network is a function of its kind and seed, drawn
from its own generator. Floats are what they are: an oracle reads them as dyadic rationals.

Every class probability of every sample is above `LOWEST[kind]`, and no pre-activation of a
piecewise linear network is within a relative 1e-6 of its kink.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

KINDS = (
    "trained",
    "rank-deficient",
    "duplicated",
    "dead",
    "badly-scaled",
    "confident",
    "misclassified",
)
EXTREME_KINDS = ("extreme",)
LOWEST = dict.fromkeys(KINDS, 1e-12) | {"confident": 1e-14, "extreme": 1e-100}

ACTIVATIONS = {nn.ReLU: "relu", nn.LeakyReLU: "leaky_relu", nn.Tanh: "tanh", nn.GELU: "gelu"}
PIECEWISE_LINEAR = (nn.ReLU, nn.LeakyReLU)
KINK_DISTANCE = 1e-6
ATTEMPTS = 200


@dataclass(frozen=True)
class Network:
    """A classifier with the labelled samples at which it is looked at.

    model: Sequential of Linear and one kind of activation, float64.
    inputs: Float64[Tensor, "samples features"]; labels: Int64[Tensor, "samples"].
    """

    kind: str
    seed: int
    model: nn.Sequential
    inputs: Tensor
    labels: Tensor


def draw_network(kind: str, seed: int) -> Network:
    """The network of this kind and seed; the same one on each call.

    Raises ValueError for a kind that is neither in KINDS nor in EXTREME_KINDS.
    """
    if kind not in RECIPES:
        raise ValueError(f"kind must be one of {tuple(RECIPES)}; got {kind!r}")
    generator = torch.Generator().manual_seed(100 * seed + tuple(RECIPES).index(kind))
    for _ in range(ATTEMPTS):
        network = Network(kind, seed, *RECIPES[kind](generator))
        _limit(network.model, network.inputs, LOWEST[kind])
        if _is_acceptable(network):
            return network
    raise RuntimeError(f"no acceptable network of kind {kind!r} and seed {seed}")


def as_lists(network: Network) -> tuple[list, str, list[list[float]], list[int]]:
    """(layers, activation, inputs, labels) in plain lists, the arguments of the oracle."""
    layers = [
        (layer.weight.tolist(), None if layer.bias is None else layer.bias.tolist())
        for layer in linear_layers(network.model)
    ]
    activation = ACTIVATIONS[type(network.model[1])]
    return layers, activation, network.inputs.tolist(), network.labels.tolist()


def linear_layers(model: nn.Sequential) -> list[nn.Linear]:
    """The linear layers in order."""
    return [layer for layer in model if isinstance(layer, nn.Linear)]


# Recipes: one per kind, generator -> (model, inputs, labels).

Parts = tuple[nn.Sequential, Tensor, Tensor]


def _trained(generator: torch.Generator) -> Parts:
    activation = _any_activation(generator)
    return _fitted(generator, activation, _chance(generator, 0.7))


def _rank_deficient(generator: torch.Generator) -> Parts:
    """Twin units, silent units, flat inputs and more rows than parameters, mixed at random.

    Nearly all of them lack row rank as well as column rank.
    """
    activation = _any_activation(generator)
    flat, zero, twin, silent, tall = (_chance(generator, 0.5) for _ in range(5))
    widths = [_integer(generator, 2, 4), _integer(generator, 2, 5), _integer(generator, 2, 4)]
    count = 24 if tall else _integer(generator, 8, 20)
    inputs, labels = _clusters(generator, count, widths[0], widths[-1])
    inputs = _flattened(inputs, generator) if flat else inputs
    if zero:
        inputs[:, -1] = 0.0
    model = _model(generator, widths, activation, bias=_chance(generator, 0.7))
    _train(model, inputs, labels)
    first, second = linear_layers(model)
    if twin or not (flat or zero or silent or tall):
        _make_twins(first, second)
    if silent:
        second.weight.data[:, 0] = 0.0
    return model, inputs, labels


def _duplicated(generator: torch.Generator) -> Parts:
    """Inputs repeated up to four times, with their label or with another one."""
    model, inputs, labels = _fitted(generator, _any_activation(generator), bias=True, largest=12)
    copies = _integer(generator, 1, min(3, 24 // len(inputs) - 1))
    chosen = torch.randperm(len(inputs), generator=generator)[: max(1, len(inputs) // 2)]
    inputs = torch.cat([inputs] + [inputs[chosen]] * copies)
    again = labels[chosen].repeat(copies)
    if _chance(generator, 0.5):
        again = (again + torch.randint(2, again.shape, generator=generator)) % _classes(model)
    return model, inputs, torch.cat([labels, again])


def _dead(generator: torch.Generator) -> Parts:
    """Half of the hidden units never active or active on every sample."""
    activation = (nn.ReLU, nn.LeakyReLU)[_integer(generator, 0, 1)]
    model, inputs, labels = _fitted(generator, activation, bias=True)
    _hold_half_on_one_side(model, inputs, generator)
    return model, inputs, labels


def _badly_scaled(generator: torch.Generator) -> Parts:
    """Hidden units scaled by 10^(6 N(0,1)) within 10^±6, or by the power of two nearest to it."""
    activation = nn.ReLU if _chance(generator, 0.8) else nn.LeakyReLU
    model, inputs, labels = _fitted(generator, activation, _chance(generator, 0.7))
    powers_of_two = _chance(generator, 0.4)
    layers = linear_layers(model)
    for lower, upper in pairwise(layers):
        scales = 10.0 ** (6.0 * _normal(generator, lower.out_features)).clamp(-6.0, 6.0)
        _scale_units(lower, upper, 2.0 ** scales.log2().round() if powers_of_two else scales)
    return model, inputs, labels


def _confident(generator: torch.Generator) -> Parts:
    """1 − p_y down to 1e-12 … 1e-14 on some samples: logits scaled until min p is there."""
    model, inputs, _ = _fitted(generator, _any_activation(generator), bias=True)
    _temper(model, inputs, 10.0 ** -_uniform(generator, 12.0, 13.9))
    return model, inputs, model(inputs).argmax(dim=1)


def _misclassified(generator: torch.Generator) -> Parts:
    """Confident samples with the label of the least probable class: p_y down to 1e-8 … 1e-12."""
    model, inputs, labels = _fitted(generator, _any_activation(generator), bias=True)
    _temper(model, inputs, 10.0 ** -_uniform(generator, 8.0, 11.9))
    return model, inputs, _flipped(model(inputs), labels)


def _extreme(generator: torch.Generator) -> Parts:
    """As misclassified or confident, with p down to 1e-20 … 1e-99."""
    model, inputs, labels = _fitted(generator, _any_activation(generator), bias=True)
    _temper(model, inputs, 10.0 ** -_uniform(generator, 20.0, 99.0))
    return model, inputs, _flipped(model(inputs), labels) if _chance(generator, 0.5) else labels


RECIPES: dict[str, Callable[[torch.Generator], Parts]] = {
    "trained": _trained,
    "rank-deficient": _rank_deficient,
    "duplicated": _duplicated,
    "dead": _dead,
    "badly-scaled": _badly_scaled,
    "confident": _confident,
    "misclassified": _misclassified,
    "extreme": _extreme,
}


# Drawing and training.


def _fitted(
    generator: torch.Generator, activation: type[nn.Module], bias: bool, largest: int = 24
) -> Parts:
    """A network of width 2–8 and depth 1–3, trained on 3..largest noisy samples of 2–5 classes."""
    depth, classes = _integer(generator, 1, 3), _integer(generator, 2, 5)
    widths = [_integer(generator, 2, 8 if depth == 1 else 6) for _ in range(depth + 1)] + [classes]
    count = _integer(generator, 3, largest)
    inputs, labels = _clusters(generator, count, widths[0], classes)
    model = _model(generator, widths, activation, bias)
    _train(model, inputs, labels)
    return model, inputs, labels


def _clusters(
    generator: torch.Generator, count: int, features: int, classes: int
) -> tuple[Tensor, Tensor]:
    """One Gaussian per class; a tenth of the labels are drawn again at random."""
    centres = 2.0 * _normal(generator, classes, features)
    classes_of = torch.randint(classes, (count,), generator=generator)
    inputs = centres[classes_of] + _normal(generator, count, features)
    noisy = torch.rand(count, generator=generator) < 0.1
    return inputs, torch.where(
        noisy, torch.randint(classes, (count,), generator=generator), classes_of
    )


def _model(
    generator: torch.Generator, widths: list[int], activation: type[nn.Module], bias: bool
) -> nn.Sequential:
    """Parameters from the generator, N(0, 2/d_in) for weights and N(0, 1/4) for biases."""
    modules: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out, bias=bias, dtype=torch.float64)
        layer.weight.data.copy_((2.0 / fan_in) ** 0.5 * _normal(generator, fan_out, fan_in))
        if bias:
            layer.bias.data.copy_(0.5 * _normal(generator, fan_out))
        modules += [layer, activation()]
    return nn.Sequential(*modules[:-1])


@torch.enable_grad()
def _train(model: nn.Sequential, inputs: Tensor, labels: Tensor, steps: int = 60) -> None:
    """Full-batch Adam on the cross-entropy."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    optimizer.zero_grad()


# Surgery on a trained network.


@torch.no_grad()
def _limit(model: nn.Sequential, inputs: Tensor, lowest: float) -> None:
    """Shrink the last layer where a probability is below the lowest one, to four times that."""
    if _least_log_probability(model(inputs)) < math.log(lowest):
        _temper(model, inputs, 4.0 * lowest)


@torch.no_grad()
def _temper(model: nn.Sequential, inputs: Tensor, lowest: float) -> None:
    """Multiply the logits, through the last layer, so that the least probability is `lowest`."""
    logits, goal = model(inputs), math.log(lowest)
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        reached = _least_log_probability(middle * logits) < goal
        low, high = (low, middle) if reached else (middle, high)
    for parameter in linear_layers(model)[-1].parameters():
        parameter.mul_(low)


def _least_log_probability(logits: Tensor) -> Tensor:
    return logits.log_softmax(dim=1).min()


@torch.no_grad()
def _flipped(logits: Tensor, labels: Tensor) -> Tensor:
    """The third of the samples with the least probable class gets that class as label."""
    least = logits.log_softmax(dim=1).min(dim=1)
    chosen = least.values.argsort()[: max(1, len(labels) // 3)]
    flipped = labels.clone()
    flipped[chosen] = least.indices[chosen]
    return flipped


def _flattened(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Inputs on a line through 0, exactly: products of multiples of 1/16."""
    direction = (16.0 * _normal(generator, inputs.shape[1])).round() / 16.0
    return (16.0 * inputs[:, :1]).round() / 16.0 * direction


def _make_twins(lower: nn.Linear, upper: nn.Linear) -> None:
    """Unit 1 becomes a copy of unit 0 in what it reads and in what it writes."""
    lower.weight.data[1] = lower.weight.data[0]
    upper.weight.data[:, 1] = upper.weight.data[:, 0]
    if lower.bias is not None:
        lower.bias.data[1] = lower.bias.data[0]


@torch.no_grad()
def _hold_half_on_one_side(
    model: nn.Sequential, inputs: Tensor, generator: torch.Generator
) -> None:
    """Move biases so that about half of the units of each layer stay on one side of the kink."""
    for layer, values in hidden_layers(model, inputs):
        held = torch.rand(layer.out_features, generator=generator) < 0.5
        held[0] = True
        active = torch.rand(layer.out_features, generator=generator) < 0.5
        before = layer(values)
        shift = torch.where(active, 0.5 - before.amin(dim=0), -0.5 - before.amax(dim=0))
        layer.bias[held] += shift[held]


def hidden_layers(model: nn.Sequential, inputs: Tensor) -> Iterator[tuple[nn.Linear, Tensor]]:
    """Each hidden linear layer with its input, which sees changes made to the layers below."""
    values = inputs
    for layer, function in zip(model[0::2], model[1::2], strict=False):
        yield layer, values
        values = function(layer(values))


@torch.no_grad()
def _scale_units(lower: nn.Linear, upper: nn.Linear, scales: Tensor) -> None:
    """Multiply what hidden units read by scales and divide what they write."""
    lower.weight.mul_(scales[:, None])
    if lower.bias is not None:
        lower.bias.mul_(scales)
    upper.weight.div_(scales)


# Acceptance.


@torch.no_grad()
def _is_acceptable(network: Network) -> bool:
    logits = network.model(network.inputs)
    return (
        bool(logits.isfinite().all())
        and bool(_least_log_probability(logits) > math.log(LOWEST[network.kind]))
        and kink_distance(network) > KINK_DISTANCE
    )


@torch.no_grad()
def kink_distance(network: Network) -> float:
    """min |w·x + b| / (|w|·|x| + |b|) over hidden units and samples; inf without kinks."""
    if not any(isinstance(module, PIECEWISE_LINEAR) for module in network.model):
        return float("inf")
    distances = [
        (layer(values).abs() / _magnitude(layer, values)).nan_to_num(nan=0.0).min()
        for layer, values in hidden_layers(network.model, network.inputs)
    ]
    return float(torch.stack(distances).min())


def _magnitude(layer: nn.Linear, values: Tensor) -> Tensor:
    bias = 0.0 if layer.bias is None else layer.bias.abs()
    return values.abs() @ layer.weight.abs().T + bias


# Draws.


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _integer(generator: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def _chance(generator: torch.Generator, probability: float) -> bool:
    return _uniform(generator, 0.0, 1.0) < probability


def _any_activation(generator: torch.Generator) -> type[nn.Module]:
    shares = [nn.ReLU] * 4 + [nn.LeakyReLU] * 2 + [nn.Tanh] * 3 + [nn.GELU]
    return shares[_integer(generator, 0, len(shares) - 1)]


def _classes(model: nn.Sequential) -> int:
    return linear_layers(model)[-1].out_features
