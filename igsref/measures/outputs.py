"""From a bracket for the computed outputs to an enclosure for the exact ones.

A bracket holds for floats L and v. The exact metric is Λ, (1 − η) L Lᵀ ≤ Λ ≤ (1 + η) L Lᵀ, and the
exact residuals differ from v by Δ in the same whitening, ‖Δ‖_F ≤ d. An energy being
max_x (vᵀAx)²/‖Ax‖², the exact one lies within

    (√lower − d)²/(1 + η)   and   (√upper + d)²/(1 − η).

IGS is N_F/N times the energy of the labelled samples, N_F the size of the pool.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.enclosure import Enclosure
from igsref.geometry.geometry import Geometry
from igsref.likelihoods.protocol import OutputError
from igsref.linalg.bracket import Bracket
from igsref.problem import Problem

_OUTWARDS = 2.0**-48
"""More than the dozen roundings of the formulas below."""


def output_error(geometry: Geometry) -> OutputError:
    """‖Δ_i‖ of every labelled sample, (N,), and η of every input of the pool, (N_F,)."""
    problem, error = geometry.problem, geometry.certificate.logit_error
    return output_error_at(problem, error)


def output_error_at(problem: Problem, error: Float64[Tensor, "pool classes"]) -> OutputError:
    """The same for logits that are known to ``error``."""
    judge, members = problem.likelihood.output_error, problem.members
    labelled = judge(problem.labelled_logits, problem.targets, error[members])
    if problem.pool_size == problem.num_samples:
        return labelled
    # No target enters the metric.
    whole = judge(problem.logits, torch.zeros_like(problem.logits), error)
    return OutputError(labelled.residual, whole.metric)


def enclose(geometry: Geometry, value: float, inside: Bracket, outputs: OutputError) -> Enclosure:
    """N_F/N times an energy whose columns hold each sample's residual once."""
    weight, (shift, metric) = geometry.problem.weight, _sizes(outputs)
    lower = lower_end_at(geometry.problem, inside.lower, outputs)
    upper = weight * _outermost(inside.upper, shift, metric)
    grade = geometry.certificate.grade
    return Enclosure(lower, min(max(weight * value, lower), upper), upper, grade)


def lower_end_at(problem: Problem, energy: float, outputs: OutputError) -> float:
    """N_F/N times the least that an energy of at least ``energy`` may be for the exact outputs."""
    shift, metric = _sizes(outputs)
    low = max(0.0, energy**0.5 * (1 - _OUTWARDS) - shift)
    return problem.weight * low**2 / (1 + metric) * (1 - _OUTWARDS)


def ceiling_end(geometry: Geometry, residuals: Tensor, outputs: OutputError) -> float:
    """The upper end of the ceiling (N_F/N) Σ uᵀΛ⁺u/n(x), n(x) how often x is in the pool."""
    return ceiling_end_at(geometry.problem, residuals, outputs)


def ceiling_end_at(problem: Problem, residuals: Tensor, outputs: OutputError) -> float:
    """The same of a problem."""
    share = problem.multiplicity().double().rsqrt()[:, None]
    square = float((residuals * share).square().sum()) * (1 + 2.0**-53 * (8 + residuals.numel()))
    return problem.weight * _outermost(square, *_sizes(outputs))


def _outermost(upper: float, shift: float, metric: float) -> float:
    if metric >= 1:
        return float("inf")
    return (upper**0.5 * (1 + _OUTWARDS) + shift) ** 2 / (1 - metric) * (1 + _OUTWARDS)


def _sizes(outputs: OutputError) -> tuple[float, float]:
    # Where the perturbed logits or their differences overflow, NaN, nothing is known.
    residual, metric = (
        part.nan_to_num(nan=math.inf, posinf=math.inf)
        for part in (outputs.residual.square(), outputs.metric)
    )
    shift = float(residual.sum()) ** 0.5 * (1 + 2.0**-53 * (8 + len(residual)))
    return shift, float(metric.max())
