"""The IGS of F's leading eigenpairs alone, which is another quantity.

What was computed for large networks so far is

    IGS_k = (1/N) Σ_i Σ_{j≤k} (g_i u_j)²/λ_j,

F's k leading eigenpairs in place of F⁺: some share of the IGS, between next to nothing and most of
it, and not invariant, since the eigenvectors of F depend on the coordinates of θ while F⁺ on the
span of the gradients does not.
"""

import warnings
from dataclasses import dataclass
from typing import Any, SupportsIndex, Unpack

import torch

from igsref.curvature.eigenpairs import top_eigenpairs
from igsref.curvature.operators import factor_operator
from igsref.linalg.lanczos import Eigenpairs
from igsref.problem import Problem, ProblemOptions, as_problem


class TruncationWarning(UserWarning):
    """A truncated sum stands in for the IGS, which it is not."""


@dataclass(frozen=True)
class TruncatedIGS:
    """IGS_k, which is not the IGS: some of it, and not invariant.

    value: IGS_k. terms: what each eigenpair adds whose eigenvalue is told
    from 0, falling eigenvalues first, k at most. share: of
    the ceiling; IGS_k ≤ IGS ≤ ceiling. converged: whether all k pairs are.
    """

    value: float
    terms: tuple[float, ...]
    share: float
    converged: bool

    def __float__(self) -> float:
        return self.value


def truncated_igs(
    model: Any,
    data: Any = None,
    k: SupportsIndex = 100,
    *,
    tolerance: float = 1e-8,
    seed: SupportsIndex = 0,
    **options: Unpack[ProblemOptions],
) -> TruncatedIGS:
    """IGS_k, from the k leading eigenpairs of F: published practice, and **not the IGS**.

    For comparing with numbers that were computed so. It holds an unknown share of the IGS and
    changes when the same function is written in other parameters, as the IGS does not; a
    TruncationWarning says so each time. For the IGS: :func:`igsref.igs`.

    Arguments and errors as for :func:`top_eigenpairs`.
    """
    problem = as_problem(model, data, **options)
    pairs = top_eigenpairs(problem, k=k, tolerance=tolerance, seed=seed)
    terms = _terms(problem, pairs, tolerance)
    ceiling = problem.likelihood.ceiling(problem.labelled_logits, problem.targets).sum()
    value = sum(terms)
    share = value / (problem.weight * float(ceiling)) if float(ceiling) > 0 else 0.0
    warnings.warn(
        f"IGS_{len(terms)} = {value:.6g} is not the IGS: it leaves out all but {len(terms)} "
        f"eigenvectors of F, holds {100 * share:.2g}% of the ceiling and depends on the parameters",
        TruncationWarning,
        stacklevel=2,
    )
    return TruncatedIGS(value, tuple(terms), share, bool(pairs.converged.all()))


def _terms(problem: Problem, pairs: Eigenpairs, tolerance: float) -> list[float]:
    """(1/N) Σ_i (g_i u_j)²/λ_j for each j, g_i u = v_iᵀ (A u)_i.

    Eigenvalues within the tolerance are not told from 0, and their vectors not from null ones.
    """
    operator = factor_operator(problem, samples=problem.members.cpu())
    known = pairs.eigenvalues > tolerance * pairs.eigenvalues[0]
    directions = pairs.eigenvectors[:, known]
    images = operator.forward(directions).unflatten(0, (problem.num_samples, -1))
    slopes = torch.einsum("nrk,nr->nk", images, problem.residuals())
    return (slopes.square().mean(dim=0) / pairs.eigenvalues[known]).tolist()
