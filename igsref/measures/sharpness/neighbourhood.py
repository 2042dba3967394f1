"""How far the loss rises around θ: what the measures that look there share."""

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, SupportsFloat

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.arguments import checked_integer
from igsref.curvature.loss import loss_of_vector, parameter_vector
from igsref.measures.measurement import Measurement
from igsref.problem import Problem


def loss_rise(problem: Problem) -> Callable[[Tensor], Tensor]:
    """δ ↦ L(θ + δ) − L(θ), δ one vector (m,); differentiable as often as the model is."""
    theta, loss = parameter_vector(problem), loss_of_vector(problem)
    with torch.no_grad():
        start = loss(theta)
    return lambda step: loss(theta + step) - start


def checked_size(name: str, value: Any) -> float:
    """A radius or box size: a positive finite number, else TypeError or ValueError.

    >>> checked_size("rho", 0.5)
    0.5
    """
    if not isinstance(value, SupportsFloat) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; got {value!r}")
    size = float(value)
    if not 0 < size < math.inf:
        raise ValueError(f"{name} must be positive and finite; got {size}")
    return size


def checked_allowance(name: str, value: Any) -> float:
    """A tolerance or offset: a finite number of at least 0, else TypeError or ValueError.

    >>> checked_allowance("eta", 0)
    0.0
    """
    if not isinstance(value, SupportsFloat) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; got {value!r}")
    size = float(value)
    if not 0 <= size < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite; got {size}")
    return size


def seeded(seed: Any) -> torch.Generator:
    """A generator of its own, on the CPU, so that every device draws the same numbers."""
    number = checked_integer("seed", seed, least=0)
    if number >= 2**64:
        raise ValueError(f"seed must be below 2**64; got {number}")
    return torch.Generator().manual_seed(number)


def best_of(rises: Sequence[float], name: str, size: float) -> Measurement:
    """The largest rise that any start found, and how far the median of the starts is below it.

    A lower bound of the maximum; δ = 0 is in every neighbourhood, so it is at least 0.
    One start alone shows no spread: its uncertainty of 0 is no proof of the maximum.
    Raises ValueError where the loss was not finite.
    """
    check_finite(rises, name, size)
    found = [max(rise, 0.0) for rise in rises]
    return Measurement(max(found), max(found) - median(found), "maximised")


def check_finite(rises: Sequence[float], name: str, size: float) -> None:
    """Refuse a neighbourhood in which the loss overflows."""
    if not all(math.isfinite(rise) for rise in rises):
        raise ValueError(
            f"{name} must be so small that the loss is finite within it; it is not for {size:g}"
        )


def gaussian(generator: torch.Generator, like: Tensor) -> Float64[Tensor, " params"]:
    """Standard normal numbers of the shape and device of ``like``."""
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.device)
