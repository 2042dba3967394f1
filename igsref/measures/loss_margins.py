"""Margins of two classes in the loss: the boundary l = log 2; equations (10) and (11).

With ε_ik the step along the eigenvector u_k of F, eigenvalue λ_k, for which to first order
l_i + ε_ik g_i·u_k = log 2,

    Σ_k 1/(ε_ik² λ_k) = g_i F⁺ g_iᵀ / (log 2 − l_i)².
"""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from igsref.geometry.access import as_geometry
from igsref.measures.gaps import (
    below_ceiling,
    check_off_boundary,
    gaps,
    hard_labels,
    left_open,
    share,
    warn_of_rounding,
)
from igsref.measures.igs import check_rank_bound
from igsref.problem import ProblemOptions


@dataclass(frozen=True, eq=False)
class LossMargins:
    """Each sample of two classes against the boundary l = log 2.

    headrooms: log 2 − l_i. squared_slopes: g_i F⁺ g_iᵀ. ceilings: what these would be if range(A)
    were everything, N_F expm1(l_i)/n(x_i). All (N,). rounding_error: an estimate of what rounding
    leaves open of Σ_i sums_i, absolute, if a clear rank is the rank.
    """

    headrooms: Float64[Tensor, " samples"]
    squared_slopes: Float64[Tensor, " samples"]
    ceilings: Float64[Tensor, " samples"]
    rounding_error: float

    @property
    def sums(self) -> Float64[Tensor, " samples"]:
        """Σ_k 1/(ε_ik² λ_k) to first order in the loss, (10) and (11)."""
        return self.distances.square().reciprocal()

    @property
    def distances(self) -> Float64[Tensor, " samples"]:
        """(log 2 − l)/√(g F⁺ gᵀ), negative for a sample that is classified wrongly."""
        return self.headrooms / self.squared_slopes.sqrt()

    @property
    def correct(self) -> Bool[Tensor, " samples"]:
        """Whether l < log 2: the label has the larger logit."""
        return self.headrooms > 0

    @property
    def saturation(self) -> Float64[Tensor, " samples"]:
        """squared_slopes/ceilings: at 1 the distance is a function of the loss alone."""
        return share(self.squared_slopes, self.ceilings)


def loss_margins(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> LossMargins:
    """Σ_k 1/(ε_ik² λ_k) = g_i F⁺ g_iᵀ/(log 2 − l_i)² of every sample, two classes; (10) and (11).

    It is the paper's form for two classes, of the same boundary as ``igsref.margins``. Both tend
    to each other as the gap → 0; further out the loss bends: at a gap of 4.5 this sum is about 200
    times smaller than the other. log 2 − l is computed from the gap, without cancellation.
    model, data, memory, options: as for ``igsref.exact_igs``.

    Warns with AccuracyWarning where rounding leaves Σ_i Σ_k 1/(ε_ik² λ_k) known to less than 1e-6.
    Raises ValueError, naming the sample, where l_i is log 2, and for more than two classes;
    otherwise as ``igsref.margins``.
    """
    geometry = as_geometry(model, data, memory=memory, **options)
    problem = geometry.problem
    check_rank_bound(geometry)
    labels = hard_labels(problem)
    values = gaps(problem, problem.labelled_logits, labels)
    if values.shape[1] != 2:
        raise ValueError(
            f"loss_margins needs two classes: with {values.shape[1]} the loss does not tell the "
            "boundary. Use igsref.margins, whose boundary is f_y = f_c"
        )
    check_off_boundary(values, labels)
    gap = values.sum(dim=1)
    most = problem.likelihood.ceiling(problem.labelled_logits, problem.targets)
    energy = most if geometry.saturated else geometry.sample_energy(problem.residuals())
    squared, ceilings = below_ceiling(problem, energy[:, None], most[:, None])
    # log 2 − log(1 + e^−gap), which is as small as the gap.
    headroom = -torch.log1p(torch.expm1(-gap) / 2)
    total = float((squared[:, 0] / headroom.square()).sum())
    # ∂headroom/∂gap is a probability, so that the headroom is known as well as the gap is.
    error = left_open(geometry, problem.residuals() / headroom[:, None], headroom, total)
    warn_of_rounding(error, total)
    return LossMargins(headroom.cpu(), squared[:, 0].cpu(), ceilings[:, 0].cpu(), error)
