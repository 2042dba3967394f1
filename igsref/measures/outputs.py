"""From a bracket for the computed outputs to an enclosure for the exact ones.

A bracket holds for floats L and v. The exact metric is Λ, (1 − η) L Lᵀ ≤ Λ ≤ (1 + η) L Lᵀ, and the
exact residuals differ from v by Δ in the same whitening, ‖Δ‖_F ≤ d. An energy being
max_x (vᵀAx)²/‖Ax‖², the exact one lies within

    (√lower − d)²/(1 + η)   and   (√upper + d)²/(1 − η).
"""

from torch import Tensor

from igsref.enclosure import Enclosure, Grade
from igsref.geometry.dense import Geometry
from igsref.likelihoods.protocol import OutputError
from igsref.linalg.bracket import Bracket, in_blocks, whole

_OUTWARDS = 2.0**-48
"""More than the dozen roundings of the formulas below."""


def output_error(geometry: Geometry) -> OutputError:
    """η and ‖Δ_i‖ of every sample, (N,), from what the logits are known to."""
    problem = geometry.problem
    return problem.likelihood.output_error(problem.logits, problem.targets, geometry.logit_error)


def enclose(value: float, inside: Bracket, outputs: OutputError, grade: Grade) -> Enclosure:
    """The enclosure of an energy whose columns hold each sample's residual once."""
    shift, metric = _sizes(outputs)
    low = max(0.0, inside.lower**0.5 * (1 - _OUTWARDS) - shift)
    lower = low**2 / (1 + metric) * (1 - _OUTWARDS)
    upper = _outermost(inside.upper, shift, metric)
    return Enclosure(lower, min(max(value, lower), upper), upper, grade)


def ceiling_end(residuals: Tensor, outputs: OutputError) -> float:
    """The upper end of the ceiling Σ uᵀΛ⁺u, at least every upper end of an IGS."""
    return _outermost(whole(in_blocks(residuals)).upper, *_sizes(outputs))


def _outermost(upper: float, shift: float, metric: float) -> float:
    if metric >= 1:
        return float("inf")
    return (upper**0.5 * (1 + _OUTWARDS) + shift) ** 2 / (1 - metric) * (1 + _OUTWARDS)


def _sizes(outputs: OutputError) -> tuple[float, float]:
    residual = outputs.residual.square()
    shift = float(residual.sum()) ** 0.5 * (1 + 2.0**-53 * (8 + len(residual)))
    return shift, float(outputs.metric.max()) if len(residual) else 0.0
