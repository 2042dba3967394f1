"""The textbook oracle: form F, diagonalise, pseudo-invert, exactly as the paper writes it.

Short and readable on purpose, and kept beside the accurate route: tests hold the two together
where the textbook is well conditioned. Forming F squares the condition number; in float32, or
under a bad scaling of the parameters, this route is wrong by any amount without noticing.
"""

from typing import Any, SupportsFloat, Unpack

import torch

from igsref.curvature.factor import gradients
from igsref.curvature.fisher import fisher
from igsref.problem import ProblemOptions, as_problem

AUTHORS_RCOND = 1e-5
"""Eigenvalues up to this multiple of the largest count as zero in the authors' own code."""


def textbook_igs(
    model: Any,
    data: Any = None,
    *,
    dtype: torch.dtype = torch.float64,
    rcond: float = AUTHORS_RCOND,
    **options: Unpack[ProblemOptions],
) -> float:
    """(1/N) Σ g_i F⁺ g_iᵀ with F⁺ from the eigenvectors of the dense F; equations (2) and (6).

    dtype: everything is computed in it, Jacobians included; torch.float32 or torch.float64.
    rcond: eigenvalues λ ≤ rcond·λ_max count as zero. No choice is right: small ones keep noise,
        large ones cut what counts.

    Raises ValueError for an rcond outside [0, 1), TypeError for an rcond that is no number and
    for another dtype, and
    torch.linalg.LinAlgError where ``eigh`` gives F up, as it may in float32 on a badly scaled F.
    """
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"dtype must be torch.float32 or torch.float64; got {dtype!r}")
    if not isinstance(rcond, SupportsFloat):
        raise TypeError(f"rcond must be a number; got {rcond!r}")
    if not 0 <= rcond < 1:
        raise ValueError(f"rcond must lie in [0, 1); got {rcond}")
    problem = as_problem(model, data, **options).astype(dtype)
    eigenvalues, eigenvectors = torch.linalg.eigh(fisher(problem))
    kept = eigenvalues > rcond * eigenvalues[-1]
    g = gradients(problem) @ eigenvectors[:, kept]
    return float((g.square() / eigenvalues[kept]).sum(dim=1).mean())
