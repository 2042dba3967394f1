"""The energy g F⁺ gᵀ of gradients in the Fisher metric of other data, by the SVD of its factor.

A = U Σ Vᵀ, F = AᵀA/N_F: g F⁺ gᵀ = N_F Σ_k (g·v_k)²/σ_k². Gradients of the data that F is a mean
over lie in its range, and then no change of parameters moves the energy (IGS). Gradients of other
data may leave it. F⁺ says nothing about the part outside, and what it says about the part inside
depends on the parametrisation, as does the split: so nothing is rescaled here.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.factor import apply_root, differences
from igsref.geometry.checks import check_rows
from igsref.geometry.cut import estimated_row_error
from igsref.jacobian.rounding import estimate_rounding
from igsref.linalg.rounding import UNIT
from igsref.problem import Problem

_BELOW_CUT = 10.0
_ROOM = 2.0
"""First-order bounds on rounding are doubled for what they leave out."""


@dataclass(frozen=True, eq=False)
class MetricEnergy:
    """Energies in a metric, and what it does not see.

    inside: g F⁺ gᵀ of each gradient, (N,). outside: ‖g − its part in range F‖², (N,), of which
    ``inside`` knows nothing. square: ‖g‖², (N,). leaves: whether some gradient leaves the range
    by more than rounding explains. rank: of F, numerical.
    rounding_error: estimate of what rounding leaves open of the mean of ``inside``, absolute.
    """

    inside: Float64[Tensor, " samples"]
    outside: Float64[Tensor, " samples"]
    square: Float64[Tensor, " samples"]
    leaves: bool
    rank: int
    rounding_error: float

    @property
    def share_outside(self) -> float:
        """Σ ‖g_out‖²/Σ ‖g‖², 0 where all gradients are 0."""
        total = float(self.square.sum())
        return float(self.outside.sum()) / total if total > 0 else 0.0


def fisher_energy(problem: Problem, gradients: Float64[Tensor, "samples params"]) -> MetricEnergy:
    """Energies of gradients in the metric of a problem's inputs; its labels are not used.

    Directions with σ_k at or below the estimated rounding e of the factor count as null. To first
    order in an error E of A, ‖E‖ ≤ e, an energy N_F‖w‖², w = A⁺ᵀg, x = A⁺w, moves by at most

        2 N_F e (‖x‖‖w‖ + ‖A⁺ᵀx‖‖g_out‖),

    and by 2 N_F ‖x‖‖δg‖ with g; directions just below the cut are counted in as well.
    """
    matrix = differences(problem)
    check_rows(problem, matrix, 0)
    contrast = problem.likelihood.contrast(problem.logits)
    relative = estimate_rounding(problem, contrast, matrix).relative
    factor = apply_root(problem, matrix)
    error = float(estimated_row_error(relative, factor).norm())
    _, sigma, basis = torch.linalg.svd(factor, full_matrices=False)
    near = sigma > error / _BELOW_CUT
    sigma, basis = sigma[near], basis[near]
    kept = sigma > error
    components = gradients @ basis.mT
    square = gradients.square().sum(dim=1)
    w, below = (components / sigma)[:, kept], (components / sigma)[:, ~kept]
    x = w / sigma[kept]
    outside = _outside(gradients, basis[kept])
    row_error = relative + len(basis.mT) * UNIT
    moved = (
        error
        * (x.norm(dim=1) * w.norm(dim=1) + (x / sigma[kept]).norm(dim=1) * outside.norm(dim=1))
        + row_error * x.norm(dim=1) * square.sqrt()
    )
    doubt = (_ROOM * moved + below.square().sum(dim=1)).mean()
    explained = _ROOM * (error * w.norm(dim=1) + row_error * square.sqrt())
    return MetricEnergy(
        inside=problem.pool_size * w.square().sum(dim=1),
        outside=outside.square().sum(dim=1),
        square=square,
        leaves=bool((outside.norm(dim=1) > explained).any()),
        rank=int(kept.sum()),
        rounding_error=problem.pool_size * float(doubt),
    )


def _outside(gradients: Tensor, basis: Tensor) -> Float64[Tensor, "samples params"]:
    """g minus its part in the span, twice, as once leaves rounding of the size of g."""
    for _ in range(2):
        gradients = gradients - (gradients @ basis.mT) @ basis
    return gradients
