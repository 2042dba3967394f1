"""Draw the networks of the reference vectors and store them with their proven values.

    python verification/vector_networks.py --output DIR

Training rounds differently from machine to machine, so it is the stored networks that count:
`igsref vectors write` starts from them, and this script is only where they came from.
"""

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from igsref import as_problem
from igsref.vectors.description import describe
from igsref.vectors.expected import expected_values
from igsref.vectors.files import save
from igsref.vectors.vector import Vector
from verification.networks import draw_network

KINK_DISTANCE = 1e-6
KINKED = (nn.ReLU, nn.LeakyReLU)

Parts = tuple[nn.Sequential, Tensor, Tensor]
Recipe = Callable[[Generator], Parts]
Modules = Callable[[], list[nn.Module]]


@dataclass(frozen=True)
class Case:
    """A network to be drawn: its recipe, its likelihood, and what it is there for."""

    recipe: Recipe
    tags: tuple[str, ...] = ()
    likelihood: str = "categorical"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="where the files go")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in tqdm(CASES.items(), desc="vectors"):
        # A seed of its own: other cases may come and go.
        generator = Generator().manual_seed(zlib.crc32(name.encode()))
        model, inputs, labels = case.recipe(generator)
        require_off_kinks(name, model, inputs)
        expected = expected_values(model, inputs, labels, case.likelihood)
        tags = (*case.tags, *observed_tags(model, inputs, labels, case.likelihood))
        if expected.rank is None:
            tags = (*tags, "rank-undecided")
        tags = tuple(dict.fromkeys(tags))
        save(folder, Vector(name, tags, model, inputs, labels, case.likelihood, expected))


@torch.no_grad()
def require_off_kinks(name: str, model: nn.Sequential, inputs: Tensor) -> None:
    """Refuse a network whose units might be on another side of the kink after rounding.

    Units of one layer may differ in scale by many powers of ten: each is compared with itself.
    """
    value = inputs
    for module in model:
        if isinstance(module, KINKED):
            distance = value.abs() / value.abs().amax(dim=0)
            if float(distance.min()) <= KINK_DISTANCE:
                raise RuntimeError(f"{name}: a pre-activation is within {distance.min():.1e} of 0")
        value = module(value)


def observed_tags(
    model: nn.Sequential, inputs: Tensor, labels: Tensor, likelihood: str
) -> list[str]:
    """What can be read off: the layers, the likelihood, the classes, and n = N·R beside m."""
    problem = as_problem(model, (inputs, labels), likelihood=likelihood)
    layers = sorted({layer["kind"] for layer in describe(model)[0]} - {"linear", "flatten"})
    more = problem.num_rows > problem.num_parameters
    size = "rows-above-parameters" if more else "rows-up-to-parameters"
    return [*layers, likelihood, f"outputs-{problem.num_classes}", size]


# Recipes.


def classifier(
    modules: Modules, shape: tuple[int, ...], count: int, sharpness: float = 1
) -> Recipe:
    """Gaussian inputs of a shape and random labels; the last layer scaled by ``sharpness``."""

    def recipe(generator: Generator) -> Parts:
        model, inputs = filled(generator, modules()), normal(generator, count, *shape)
        for parameter in model[-1].parameters():
            parameter.data.mul_(sharpness)
        classes = model(inputs).shape[1]
        return model, inputs, torch.randint(classes, (count,), generator=generator)

    return recipe


def regression(modules: Modules, features: int, count: int, low: float, high: float) -> Recipe:
    """Labels of the outputs' shape, uniform between two ends and rounded to 1/16.

    Ends 0 and 1 give probabilities.
    """

    def recipe(generator: Generator) -> Parts:
        model, inputs = filled(generator, modules()), normal(generator, count, features)
        share = torch.rand(model(inputs).shape, generator=generator, dtype=torch.float64)
        return model, inputs, ((low + (high - low) * share) * 16).round() / 16

    return recipe


def zoo(kind: str, seed: int) -> Recipe:
    """A network of verification/networks.py, drawn from its own generator."""

    def recipe(generator: Generator) -> Parts:
        network = draw_network(kind, seed)
        return network.model, network.inputs, network.labels

    return recipe


def repeated(recipe: Recipe, same_label: bool) -> Recipe:
    """Every third sample again, with its label or the next one."""

    def doubled(generator: Generator) -> Parts:
        model, inputs, labels = recipe(generator)
        classes = model(inputs).shape[1]
        again = labels[::3] if same_label else (labels[::3] + 1) % classes
        return model, torch.cat([inputs, inputs[::3]]), torch.cat([labels, again])

    return doubled


def rescaled(recipe: Recipe, scales: list[float]) -> Recipe:
    """Features in other units."""

    def scaled(generator: Generator) -> Parts:
        model, inputs, labels = recipe(generator)
        return model, inputs * torch.tensor(scales, dtype=torch.float64), labels

    return scaled


def mlp(
    widths: list[int], activation: Callable[[], nn.Module] = nn.ReLU, bias: bool = True
) -> Modules:
    """Modules of a dense network."""

    def modules() -> list[nn.Module]:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out, bias=bias), activation()]
        return layers[:-1]

    return modules


def tied_layer() -> list[nn.Module]:
    """One layer, weight and bias, used twice."""
    shared = nn.Linear(4, 4)
    return [shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(4, 3)]


def tied_weight() -> list[nn.Module]:
    """Two layers with a weight in common and biases of their own."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return [first, nn.Tanh(), second, nn.Tanh(), nn.Linear(4, 3)]


def tied_convolution() -> list[nn.Module]:
    shared = nn.Conv2d(2, 2, 3, padding=1)
    return [shared, nn.ReLU(), shared, nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)]


def filled(generator: Generator, modules: list[nn.Module]) -> nn.Sequential:
    """In evaluation mode, every number from the generator, weights N(0, 2/fan-in)."""
    model = nn.Sequential(*modules).double().eval()
    for parameter in model.parameters():
        fan_in = parameter[0].numel()
        size = (2 / fan_in) ** 0.5 if parameter.dim() > 1 else 0.5
        parameter.data.copy_(size * normal(generator, *parameter.shape))
    for module in model:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.weight is not None:
                module.weight.data.add_(1)
            module.running_mean.copy_(0.5 * normal(generator, *module.running_mean.shape))
            module.running_var.copy_(0.5 + normal(generator, *module.running_var.shape).square())
    return model


def normal(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# The cases.

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}
SMALL, LARGE = 10, 20
"""Samples, on either side of the 31 parameters of a 3-4-3 network: rows are twice as many."""

ZOO = {
    "trained": (0, 1, 2),
    "rank-deficient": (0, 1, 2, 3),
    "duplicated": (0, 1),
    "dead": (0, 1),
    "badly-scaled": (0, 1, 2, 3),
    "confident": (0, 1, 2),
    "misclassified": (0, 1, 2),
    "extreme": (0, 1),
}

CASES = {
    **{
        f"mlp-{name}-{size}": Case(classifier(mlp([3, 4, 3], activation), (3,), count))
        for name, activation in ACTIVATIONS.items()
        for size, count in (("wide", SMALL), ("tall", LARGE))
    },
    **{
        f"classes-{count}": Case(classifier(mlp([3, 5, count]), (3,), 40 // count + 2))
        for count in range(2, 11)
    },
    **{
        f"{kind}-{seed}": Case(zoo(kind, seed), (kind,))
        for kind, seeds in ZOO.items()
        for seed in seeds
    },
    "no-bias": Case(classifier(mlp([3, 5, 3], bias=False), (3,), 20), ("no-bias",)),
    "deep": Case(classifier(mlp([3, 4, 4, 4, 4, 3]), (3,), 20), ("deep",)),
    "one-sample": Case(classifier(mlp([3, 4, 3]), (3,), 1), ("one-sample",)),
    "softmax-regression": Case(classifier(mlp([4, 3]), (4,), 24), ("single-layer",)),
    "duplicates-same-label": Case(
        repeated(classifier(mlp([3, 4, 3]), (3,), 12), True), ("duplicated",)
    ),
    "duplicates-other-label": Case(
        repeated(classifier(mlp([3, 4, 3], nn.Tanh), (3,), 12), False), ("duplicated",)
    ),
    "sharp-labels-at-random": Case(
        classifier(mlp([3, 5, 4]), (3,), 16, sharpness=8), ("confident", "misclassified")
    ),
    "convolution": Case(
        classifier(
            lambda: [nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3)], (1, 5, 5), 12
        ),
        ("convolution",),
    ),
    "convolution-settings": Case(
        classifier(
            lambda: [
                nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2),
                nn.LeakyReLU(0.125),
                nn.Flatten(),
                nn.Linear(24, 3),
            ],
            (2, 3, 5),
            12,
        ),
        ("convolution",),
    ),
    "convolution-average": Case(
        classifier(
            lambda: [
                nn.Conv2d(1, 3, 3, padding=1),
                nn.ReLU(),
                nn.AvgPool2d(2),
                nn.Flatten(),
                nn.Linear(12, 3),
            ],
            (1, 4, 4),
            30,
        ),
        ("convolution",),
    ),
    "convolution-maximum": Case(
        classifier(
            lambda: [
                nn.Conv2d(1, 2, 3, padding=1, bias=False),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(8, 3),
            ],
            (1, 4, 4),
            30,
        ),
        ("convolution",),
    ),
    "convolution-tanh": Case(
        classifier(
            lambda: [nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)], (1, 3, 3), 12
        ),
        ("convolution",),
    ),
    "convolution-1d": Case(
        classifier(
            lambda: [nn.Conv1d(2, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(9, 3)],
            (2, 7),
            15,
        ),
        ("convolution",),
    ),
    "batch-norm": Case(
        classifier(
            lambda: [nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)], (3,), 10
        ),
        ("batch-norm",),
    ),
    "batch-norm-tall": Case(
        classifier(
            lambda: [nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)], (3,), 24
        ),
        ("batch-norm",),
    ),
    "batch-norm-fixed": Case(
        classifier(
            lambda: [nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.Tanh(), nn.Linear(4, 3)],
            (3,),
            24,
        ),
        ("batch-norm",),
    ),
    "batch-norm-convolution": Case(
        classifier(
            lambda: [
                nn.Conv2d(1, 3, 2, bias=False),
                nn.BatchNorm2d(3, eps=1e-3),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(12, 3),
            ],
            (1, 3, 3),
            12,
        ),
        ("batch-norm", "convolution"),
    ),
    "tied-layer": Case(classifier(tied_layer, (4,), 24), ("tied",)),
    "tied-weight": Case(classifier(tied_weight, (4,), 12), ("tied",)),
    "tied-convolution": Case(classifier(tied_convolution, (2, 4, 4), 12), ("tied", "convolution")),
    "bernoulli-one": Case(regression(mlp([3, 5, 1]), 3, 24, 0, 1), likelihood="bernoulli"),
    "bernoulli-three": Case(
        regression(mlp([3, 4, 3], nn.Tanh), 3, 8, 0, 1), likelihood="bernoulli"
    ),
    "gaussian-one": Case(regression(mlp([3, 5, 1], nn.GELU), 3, 16, -2, 2), likelihood="gaussian"),
    "gaussian-two": Case(regression(mlp([3, 5, 2]), 3, 24, -2, 2), likelihood="gaussian"),
    "gaussian-linear": Case(
        rescaled(regression(mlp([3, 2]), 3, 20, -2, 2), [1.0, 2.0**-10, 2.0**-20]),
        ("single-layer", "badly-scaled", "multiple-eigenvalues"),
        "gaussian",
    ),
}


if __name__ == "__main__":
    main()
