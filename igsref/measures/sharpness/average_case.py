"""Average-case sharpness: the mean rise of the loss under Gaussian noise on the parameters.

E L(w + δ) − L(w), δ ∼ N(0, ρ² I), or N(0, ρ² diag(w²)) for the adaptive one. Andriushchenko, Croce,
Müller, Hein, Flammarion, "A Modern Look at the Relationship between Sharpness and Generalization",
ICML 2023. As ρ → 0 they tend to ½ρ² Tr H and ½ρ² Σ_k w_k² H_kk.
"""

from typing import Any, SupportsFloat, SupportsIndex, Unpack

import torch
from torch import Tensor
from tqdm import tqdm

from igsref.arguments import checked_integer
from igsref.curvature.loss import parameter_vector
from igsref.measures.measurement import Measure, Measurement
from igsref.measures.sharpness.neighbourhood import (
    check_finite,
    checked_size,
    gaussian,
    loss_rise,
    seeded,
)
from igsref.problem import Problem, ProblemOptions, as_problem
from igsref.progress import SECONDS_BEFORE_PROGRESS
from igsref.randomness import preserved_random_state


def average_case_sharpness(
    model: Any,
    data: Any = None,
    *,
    rho: SupportsFloat = 0.05,
    pairs: SupportsIndex = 256,
    seed: SupportsIndex = 0,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """E L(w + δ) − L(w), δ ∼ N(0, ρ² I), sampled, with its standard error.

    rho: the standard deviation ρ of each entry.
    pairs: how many δ are drawn; each enters with both signs, so that the odd orders of L cancel.
    seed: of the draws; the global random states neither enter nor change.
    options: as for ``igsref.as_problem``; a Problem or Geometry may stand for (model, data).

    Against the authors' code: all samples are one batch, noise comes in pairs, logits are not
    normalised.

    Raises ValueError for a rho that is not positive and finite or at which the loss overflows, for
    fewer than 2 pairs and a seed outside [0, 2⁶⁴); TypeError for what
    is no number.
    """
    problem = as_problem(model, data, **options)
    return _mean(problem, torch.ones_like(parameter_vector(problem)), rho, pairs, seed)


def adaptive_average_case_sharpness(
    model: Any,
    data: Any = None,
    *,
    rho: SupportsFloat = 0.05,
    pairs: SupportsIndex = 256,
    seed: SupportsIndex = 0,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """E L(w + δ) − L(w), δ ∼ N(0, ρ² diag(w²)), sampled, with its standard error.

    rho: the standard deviation ρ of each entry relative to |w_k|, biases among them.
    For the rest see :func:`average_case_sharpness`.
    """
    problem = as_problem(model, data, **options)
    return _mean(problem, parameter_vector(problem).abs(), rho, pairs, seed)


def _mean(
    problem: Problem,
    scale: Tensor,
    rho: SupportsFloat,
    pairs: SupportsIndex,
    seed: SupportsIndex,
) -> Measurement:
    """Mean and standard error over δ = ρ·scale·normal and its negative."""
    radius, count = checked_size("rho", rho), checked_integer("pairs", pairs, least=2)
    generator, rise = seeded(seed), loss_rise(problem)
    draws = tqdm(
        range(count),
        desc="Noise on the parameters",
        unit="pair",
        delay=SECONDS_BEFORE_PROGRESS,
        leave=False,
        disable=None,
    )
    rises = []
    with torch.no_grad(), preserved_random_state():
        for _ in draws:
            step = radius * scale * gaussian(generator, scale)
            rises.append(float(rise(step) + rise(-step)) / 2)
        check_finite(rises, "rho", radius)
    sampled = torch.tensor(rises, dtype=torch.float64)
    return Measurement(float(sampled.mean()), float(sampled.std()) / count**0.5, "sampled")


_SOURCE = "Andriushchenko et al., ICML 2023"

AVERAGE_CASE_SHARPNESS = Measure(
    name="average-case sharpness", source=_SOURCE, compute=average_case_sharpness
)
ADAPTIVE_AVERAGE_CASE_SHARPNESS = Measure(
    name="adaptive average-case sharpness",
    source=_SOURCE,
    compute=adaptive_average_case_sharpness,
    promised=frozenset({"layer scaling", "node scaling", "diagonal"}),
)
"""Promised not to change under multiplicative reparametrisations."""
