"""Factors of the Fisher information matrix, F = AᵀA/N: the reduced one and the paper's.

The reduced factor A_i = L_iᵀ D_i, D_i = K_i J_i, has no cancellation left in it; the textbook one
M_i J_i (the paper's equations 4 and 5) has the same geometry and loses digits where p → 1.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from igsref.jacobian.rows import jacobian_rows
from igsref.problem import Problem


def differences(problem: Problem) -> Float64[Tensor, "rows params"]:
    """D = K J: for the categorical, J_c − J_ref of every sample; (N·R, m)."""
    return jacobian_rows(problem, problem.likelihood.contrast(problem.logits))


def apply_root(
    problem: Problem, matrix: Float64[Tensor, "rows columns"]
) -> Float64[Tensor, "rows columns"]:
    """blockdiag(L_iᵀ)·matrix, (N·R, columns)."""
    root = problem.likelihood.root(problem.logits)
    blocks = matrix.view(len(root), root.shape[1], matrix.shape[1])
    return (root @ blocks).view_as(matrix)


def scaled_root(
    problem: Problem, scales: Float64[Tensor, " rows"], first: int = 0
) -> Float64[Tensor, "samples height height"]:
    """L_iᵀ S⁻¹ of the inputs from ``first`` on, S the scales of their rows: A = L S⁻¹ (S D)."""
    count = len(scales) // problem.rows_per_sample
    root = problem.likelihood.root(problem.logits[first : first + count])
    return root / scales.view(count, 1, -1)


def reduced_factor(problem: Problem) -> Float64[Tensor, "rows params"]:
    """A = blockdiag(L_iᵀ) D, (N·R, m); g_i = v_iᵀ A_i and F = AᵀA/N."""
    return apply_root(problem, differences(problem))


def textbook_factor(problem: Problem) -> Float[Tensor, "stacked params"]:
    """A = stack of M_i J_i, equations (4) and (5) as the paper writes them, (N·C, m)."""
    return jacobian_rows(problem, problem.likelihood.textbook_root(problem.logits))


def gradients(problem: Problem) -> Float[Tensor, "samples params"]:
    """g_i = u_iᵀ J_i, the per-sample loss gradients, (N, m)."""
    u = torch.zeros_like(problem.logits)
    u[problem.members] = problem.likelihood.output_gradient(
        problem.labelled_logits, problem.targets
    )
    return jacobian_rows(problem, u[:, None, :], samples=problem.members)
