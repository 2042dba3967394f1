"""Sharpness of a minimum as the largest relative rise of the loss in a small box around it.

φ = 100 (max_{z ∈ C} f(x + z) − f(x))/(1 + f(x)), C = {z : |z_i| ≤ ε(|x_i| + 1)}. Keskar, Mudigere,
Nocedal, Smelyanskiy, Tang, "On Large-Batch Training for Deep Learning: Generalization Gap and Sharp
Minima", ICLR 2017, Metric 2.1 with A = I.
"""

from collections.abc import Callable
from typing import Any, SupportsFloat, SupportsIndex, Unpack

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from tqdm import tqdm

from igsref.arguments import checked_integer
from igsref.curvature.loss import loss_of_vector, parameter_vector
from igsref.measures.measurement import Measure, Measurement
from igsref.measures.sharpness.neighbourhood import (
    best_of,
    checked_size,
    loss_rise,
    seeded,
)
from igsref.problem import ProblemOptions, as_problem
from igsref.progress import SECONDS_BEFORE_PROGRESS
from igsref.randomness import preserved_random_state


def keskar_sharpness(
    model: Any,
    data: Any = None,
    *,
    epsilon: SupportsFloat = 1e-3,
    starts: SupportsIndex = 5,
    iterations: SupportsIndex = 200,
    seed: SupportsIndex = 0,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """100 (max_{z ∈ C} f(x + z) − f(x))/(1 + f(x)), f the mean loss; a lower bound of it.

    epsilon: ε, half the width of the box relative to |x_i| + 1; the paper has 1e-3 and 5e-4.
    starts: how often the maximum is searched for, from z = 0 and then from points drawn uniformly.
    iterations: of L-BFGS-B at most, each time.
    seed: of the drawn points; the global random states neither enter nor change.
    options: as for ``igsref.as_problem``; a Problem or Geometry may stand for (model, data).
    Returns the best start's value, and as uncertainty how far the median start is below it; one
    start alone shows no spread, and its uncertainty of 0 is no proof of the maximum.

    Against the paper, whose code was never released: it stops L-BFGS-B after ten iterations,
    starts once, and also maximises over random subspaces x + Az with 100 columns; here the space
    is the whole one, the search goes on until it stands still, and it starts several times.
    The units are those of the box, z_i = ε(|x_i| + 1) y_i, which changes the path of L-BFGS-B.

    Raises ValueError for an epsilon that is not positive and finite or at which the loss
    overflows, for counts below 1 and a seed outside [0, 2⁶⁴); TypeError for what
    is no number.
    """
    size = checked_size("epsilon", epsilon)
    count = checked_integer("starts", starts, least=1)
    most = checked_integer("iterations", iterations, least=1)
    generator = seeded(seed)
    problem = as_problem(model, data, **options)
    theta = parameter_vector(problem)
    rise = _in_box(loss_rise(problem), size * (theta.abs() + 1))
    rises = []
    with preserved_random_state():
        loss = float(loss_of_vector(problem)(theta))
        for number in tqdm(
            range(count),
            desc="Starts in the box",
            delay=SECONDS_BEFORE_PROGRESS,
            leave=False,
            disable=None,
        ):
            drawn = 2 * torch.rand(len(theta), generator=generator, dtype=torch.float64) - 1
            rises.append(_highest(rise, drawn.numpy() * (number > 0), most))
        return best_of([100 * found / (1 + loss) for found in rises], "epsilon", size)


_Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


def _in_box(rise: Callable[[Tensor], Tensor], half_width: Tensor) -> _Objective:
    """y ∈ [−1, 1]^m ↦ the rise at z = half_width·y and its gradient."""
    value_and_gradient = torch.func.grad_and_value(lambda y: rise(half_width * y))

    def evaluate(y: np.ndarray) -> tuple[float, np.ndarray]:
        gradient, value = value_and_gradient(torch.from_numpy(y).to(half_width))
        return float(value), gradient.cpu().numpy()

    return evaluate


def _highest(rise: _Objective, start: np.ndarray, iterations: int) -> float:
    """The largest rise that L-BFGS-B meets from a start."""
    unit = float(np.abs(rise(np.zeros_like(start))[1]).sum()) or 1.0

    def descent(y: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = rise(y)
        return -value / unit, -gradient / unit

    found = minimize(
        descent,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-1.0, 1.0)] * len(start),
        options={"maxiter": iterations, "maxfun": 20 * iterations, "ftol": 0.0, "gtol": 1e-12},
    )
    return -float(found.fun) * unit


KESKAR_SHARPNESS = Measure(
    name="Keskar sharpness",
    source="Keskar et al., ICLR 2017",
    compute=keskar_sharpness,
)
"""The paper promises no invariance."""
