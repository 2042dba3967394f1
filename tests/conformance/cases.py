"""Reference vectors of a few weights, certified here; and functions that are wrong on purpose."""

from functools import cache

import torch
from torch import nn

import igsref
from igsref.vectors import Expected, Vector


@cache
def small_vectors() -> tuple[Vector, ...]:
    """A tall ReLU network below its ceiling, a saturated one, a saturated tanh network."""
    return (
        _vector("below its ceiling", nn.ReLU(), (2, 3, 3), 24),
        _vector("saturated", nn.ReLU(), (2, 5, 3), 4),
        _vector("smooth", nn.Tanh(), (2, 2, 2), 5),
    )


@cache
def gaussian_vector() -> Vector:
    return _vector("regression", nn.ReLU(), (2, 3, 2), 5, "gaussian")


def _vector(
    name: str,
    activation: nn.Module,
    widths: tuple[int, int, int],
    samples: int,
    likelihood: str = "categorical",
) -> Vector:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    features, hidden, outputs = widths
    model = nn.Sequential(nn.Linear(features, hidden), activation, nn.Linear(hidden, outputs))
    for value in model.double().parameters():
        value.data = normal(*value.shape)
    inputs = normal(samples, features)
    labels = torch.arange(samples) % outputs
    if likelihood != "categorical":
        labels = normal(samples, outputs)
    found = igsref.certify(model, (inputs, labels), likelihood=likelihood)
    expected = Expected(
        igs=found.igs,
        ceiling=found.ceiling_enclosure,
        rank=found.rank,
        full_batch=found.full_batch,
        minibatch={},
        per_sample=found.per_sample,
        eigenvalues=(),
    )
    return Vector(name, (), model.eval(), inputs, labels, likelihood, expected)


def off_by_a_hundredth(model, data):
    return 1.01 * igsref.exact_igs(model, data).value


def textbook32(model, data):
    return igsref.textbook_igs(model, data, dtype=torch.float32)


def norm_of_weights(model, data):
    return float(sum(value.detach().square().sum() for value in model.parameters()))


def exits(model, data):
    """As a program would, with the code of success."""
    raise SystemExit(0)


def raises(model, data):
    raise RuntimeError("no CUDA here\nand more lines")


def nan(model, data):
    return float("nan")


def text(model, data):
    return "1.5"
