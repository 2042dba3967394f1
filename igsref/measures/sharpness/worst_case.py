"""Worst-case sharpness: the largest rise of the loss in a ball, plain or adapted to the weights.

max {L(w + Tε) − L(w) : ‖ε‖_p ≤ ρ}, T = I, or T = diag|w| for the adaptive one. Andriushchenko,
Croce, Müller, Hein, Flammarion, "A Modern Look at the Relationship between Sharpness and
Generalization", ICML 2023; adaptive sharpness is due to Kwon, Kim, Park, Choi, "ASAM", ICML 2021.
The search is Auto-PGD: Croce, Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble
of Diverse Parameter-free Attacks", ICML 2020, Algorithm 1, in the coordinates ε.

What differs from the authors' code, in all four functions: the maximum is that of the mean loss of
all samples, theirs the mean over batches of each batch's maximum (measure batch by batch for that);
the best of several starts is taken, among them ε = 0; gradients and projections are taken in the
coordinates ε, theirs in w, where for T = diag|w| the steps depend on how the network is scaled and
the drawn starts lie outside the ball; logits are not normalised.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, SupportsFloat, SupportsIndex, Unpack

import torch
from torch import Tensor
from tqdm import tqdm

from igsref.arguments import checked_integer
from igsref.curvature.loss import parameter_vector
from igsref.measures.measurement import Invariance, Measure, Measurement
from igsref.measures.sharpness.neighbourhood import (
    best_of,
    checked_size,
    gaussian,
    loss_rise,
    seeded,
)
from igsref.problem import Problem, ProblemOptions, as_problem
from igsref.progress import SECONDS_BEFORE_PROGRESS
from igsref.randomness import preserved_random_state

_MOMENTUM = 0.75
_ENOUGH_RISES = 0.75


def worst_case_sharpness(
    model: Any,
    data: Any = None,
    *,
    rho: SupportsFloat = 0.05,
    starts: SupportsIndex = 5,
    iterations: SupportsIndex = 100,
    seed: SupportsIndex = 0,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """max {L(w + δ) − L(w) : ‖δ‖₂ ≤ ρ}; a lower bound of it.

    rho: the radius ρ.
    starts: how often the maximum is searched for, from δ = 0 and then from points of the sphere.
    iterations: steps of each search.
    seed: of the drawn points; the global random states neither enter nor change.
    options: as for ``igsref.as_problem``; a Problem or Geometry may stand for (model, data).
    Returns the best start's value, and as uncertainty how far the median start is below it; one
    start alone shows no spread, and its uncertainty of 0 is no proof of the maximum.

    Raises ValueError for a rho that is not positive and finite or at which the loss overflows, for
    counts below 1 and a seed outside [0, 2⁶⁴); TypeError for what
    is no number.
    """
    problem = as_problem(model, data, **options)
    unit = torch.ones_like(parameter_vector(problem))
    return _maximum(problem, unit, _EUCLIDEAN, rho, starts, iterations, seed)


def adaptive_worst_case_sharpness(
    model: Any,
    data: Any = None,
    *,
    rho: SupportsFloat = 0.5,
    starts: SupportsIndex = 5,
    iterations: SupportsIndex = 100,
    seed: SupportsIndex = 0,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """max {L(w + δ) − L(w) : ‖δ/|w|‖₂ ≤ ρ}; a lower bound of it.

    Every parameter is divided by its own size, biases too and without the η of ASAM, so that the
    value does not change where parameters are rescaled; one that is 0 stays 0. For the rest see
    :func:`worst_case_sharpness`.
    """
    problem = as_problem(model, data, **options)
    size = parameter_vector(problem).abs()
    return _maximum(problem, size, _EUCLIDEAN, rho, starts, iterations, seed)


def worst_case_linf_sharpness(
    model: Any,
    data: Any = None,
    *,
    rho: SupportsFloat = 0.001,
    starts: SupportsIndex = 5,
    iterations: SupportsIndex = 100,
    seed: SupportsIndex = 0,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """max {L(w + δ) − L(w) : |δ_k| ≤ ρ}; a lower bound of it. See :func:`worst_case_sharpness`."""
    problem = as_problem(model, data, **options)
    unit = torch.ones_like(parameter_vector(problem))
    return _maximum(problem, unit, _CUBE, rho, starts, iterations, seed)


def adaptive_worst_case_linf_sharpness(
    model: Any,
    data: Any = None,
    *,
    rho: SupportsFloat = 0.001,
    starts: SupportsIndex = 5,
    iterations: SupportsIndex = 100,
    seed: SupportsIndex = 0,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """max {L(w + δ) − L(w) : |δ_k| ≤ ρ|w_k|}; a lower bound of it.

    See :func:`adaptive_worst_case_sharpness`.
    """
    problem = as_problem(model, data, **options)
    size = parameter_vector(problem).abs()
    return _maximum(problem, size, _CUBE, rho, starts, iterations, seed)


@dataclass(frozen=True)
class _Ball:
    """The unit ball of a norm.

    steepest: the point of the ball where a linear function is largest, given its gradient.
    projected: the nearest point of the ball. drawn: normal numbers to a point of the ball.
    """

    steepest: Callable[[Tensor], Tensor]
    projected: Callable[[Tensor], Tensor]
    drawn: Callable[[Tensor], Tensor]


def _direction(vector: Tensor) -> Tensor:
    """The vector at length 1; 0 stays 0. Its largest entry is taken out first: squares overflow."""
    largest = vector.abs().max()
    if not largest > 0:
        return vector
    return vector / largest / (vector / largest).norm()


_EUCLIDEAN = _Ball(_direction, lambda v: v / v.norm().clamp(min=1.0), _direction)
_CUBE = _Ball(torch.sign, lambda v: v.clamp(-1.0, 1.0), torch.erf)


def _maximum(
    problem: Problem,
    scale: Tensor,
    ball: _Ball,
    rho: SupportsFloat,
    starts: SupportsIndex,
    iterations: SupportsIndex,
    seed: SupportsIndex,
) -> Measurement:
    """The largest rise at ρ·scale·y, y in the unit ball, that any start finds."""
    radius = checked_size("rho", rho)
    count = checked_integer("starts", starts, least=1)
    most = checked_integer("iterations", iterations, least=1)
    generator = seeded(seed)
    step, rise = radius * scale, loss_rise(problem)
    value_and_gradient = torch.func.grad_and_value(lambda y: rise(step * y))
    numbers = tqdm(
        range(count),
        desc="Starts in the ball",
        delay=SECONDS_BEFORE_PROGRESS,
        leave=False,
        disable=None,
    )
    rises = []
    with preserved_random_state():
        for number in numbers:
            start = ball.drawn(gaussian(generator, scale)) if number else torch.zeros_like(scale)
            rises.append(_ascent(value_and_gradient, ball, start, most))
        return best_of(rises, "rho", radius)


def _ascent(
    value_and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]],
    ball: _Ball,
    start: Tensor,
    iterations: int,
) -> float:
    """The largest value on the way of Auto-PGD: halve the step, and go back, where it stalls."""
    checkpoints = _checkpoints(iterations)
    point = previous = best_point = start
    gradient, value = value_and_gradient(point)
    best, best_gradient, best_before = float(value), gradient, -math.inf
    length, halved, rises, since = 2.0, True, 0, 0
    for iteration in range(iterations):
        straight = ball.projected(point + length * ball.steepest(gradient))
        mixed = point + _MOMENTUM * (straight - point) + (1 - _MOMENTUM) * (point - previous)
        previous, point = point, ball.projected(straight if iteration == 0 else mixed)
        before = value
        gradient, value = value_and_gradient(point)
        rises += int(value > before)
        if float(value) > best:
            best, best_point, best_gradient = float(value), point, gradient
        if iteration + 1 in checkpoints:
            stalled = rises < _ENOUGH_RISES * (iteration + 1 - since)
            halved, best_before = stalled or (not halved and best <= best_before), best
            rises, since = 0, iteration + 1
            if halved:
                length /= 2
                previous = point = best_point
                gradient, value = best_gradient, torch.as_tensor(best)
    return best


def _checkpoints(iterations: int) -> set[int]:
    """Iterations ⌈p_j n⌉ after which the step is reviewed, more and more often."""
    before, p, places = 0.0, 0.22, set()
    while p <= 1:
        places.add(math.ceil(round(p * iterations, 9)))
        before, p = p, p + max(p - before - 0.03, 0.06)
    return places


_SOURCE = "Andriushchenko et al., ICML 2023"
_RESCALINGS: frozenset[Invariance] = frozenset({"layer scaling", "node scaling", "diagonal"})

WORST_CASE_SHARPNESS = Measure(
    name="worst-case sharpness", source=_SOURCE, compute=worst_case_sharpness
)
ADAPTIVE_WORST_CASE_SHARPNESS = Measure(
    name="adaptive worst-case sharpness",
    source=_SOURCE,
    compute=adaptive_worst_case_sharpness,
    promised=_RESCALINGS,
)
WORST_CASE_LINF_SHARPNESS = Measure(
    name="worst-case sharpness, largest entry", source=_SOURCE, compute=worst_case_linf_sharpness
)
ADAPTIVE_WORST_CASE_LINF_SHARPNESS = Measure(
    name="adaptive worst-case sharpness, largest entry",
    source=_SOURCE,
    compute=adaptive_worst_case_linf_sharpness,
    promised=_RESCALINGS,
)
"""The adaptive ones are promised not to change under multiplicative reparametrisations."""
