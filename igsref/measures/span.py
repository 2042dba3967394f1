"""Appendix B: every per-sample gradient lies in the span of F's eigenvectors with λ > 0."""

from typing import Any, Unpack

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.factor import gradients, reduced_factor
from igsref.geometry.plan import require_dense
from igsref.problem import ProblemOptions, as_problem


def span_residual(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Float64[Tensor, " samples"]:
    """‖g_i − the part of g_i in range F‖ / ‖g_i‖ for every sample, (N,): rounding, if all is well.

    g_i comes from the loss, range F from the factor, so the two check each other. All rows of
    the factor count as its range, however small: the claim is about exact numbers.

    memory: budget in bytes. Raises MemoryError, with the sizes, where the factor does not fit.
    """
    problem = as_problem(model, data, **options)
    require_dense(problem, memory)
    factor, g = reduced_factor(problem), gradients(problem)
    scale = torch.linalg.vector_norm(factor, dim=1, keepdim=True)
    directions = torch.linalg.svd(
        (factor / torch.where(scale > 0, scale, 1.0)), full_matrices=False
    )
    kept = directions.S[0] * 2.0**-52 * max(factor.shape) ** 0.5 < directions.S
    basis = directions.Vh[kept]
    outside = g - (g @ basis.mT) @ basis
    size = torch.linalg.vector_norm(g, dim=1)
    return torch.linalg.vector_norm(outside, dim=1) / torch.where(size > 0, size, 1.0)
