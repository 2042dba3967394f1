"""Leading eigenpairs of F and H without either matrix, and the IGS that F's leave out.

What was computed for large networks so far is the truncated

    IGS_k = (1/N) Σ_i Σ_{j≤k} (g_i u_j)²/λ_j,

F's k leading eigenpairs in place of F⁺. It is another quantity: some share of the IGS, between next
to nothing and most of it, and not invariant, since the eigenvectors of F depend on the coordinates
of θ while F⁺ on the span of the gradients does not.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, SupportsIndex, Unpack

import torch
from torch import Tensor
from tqdm import tqdm

from igsref.arguments import checked_integer
from igsref.curvature.hessian_operator import hessian_operator
from igsref.curvature.operators import FactorOperator, factor_operator
from igsref.curvature.rank_bound import rank_bound
from igsref.linalg.lanczos import Eigenpairs, leading_eigenpairs
from igsref.problem import Problem, ProblemOptions, as_problem
from igsref.progress import SECONDS_BEFORE_PROGRESS


class TruncationWarning(UserWarning):
    """A truncated sum stands in for the IGS, which it is not."""


@dataclass(frozen=True)
class TruncatedIGS:
    """IGS_k, which is not the IGS: some of it, and not invariant.

    value: IGS_k. terms: what each of the k eigenpairs adds, falling eigenvalues first. share: of
    the ceiling; IGS_k ≤ IGS ≤ ceiling. converged: whether all k pairs are.
    """

    value: float
    terms: tuple[float, ...]
    share: float
    converged: bool

    def __float__(self) -> float:
        return self.value


def top_eigenpairs(
    model: Any,
    data: Any = None,
    k: SupportsIndex = 100,
    *,
    of: str = "fisher",
    tolerance: float = 1e-8,
    seed: SupportsIndex = 0,
    max_products: SupportsIndex | None = None,
    dtype: torch.dtype = torch.float64,
    **options: Unpack[ProblemOptions],
) -> Eigenpairs:
    """The k leading eigenpairs of F, or of the Hessian H of the loss, by Lanczos; matrix-free.

    of: "fisher" for the largest eigenvalues of F, "hessian" for the largest of H, algebraically.
    tolerance: ‖M v − λ v‖ ≤ tolerance · |λ_1| for each pair, by a fresh product in ``dtype``.
    max_products: so many products at most; pairs that are not there by then are not ``converged``.
    dtype: of derivatives; float32 reaches tolerances of some 1e-6 only.
    options: as for :func:`igsref.as_problem`.

    Holds some 3k vectors of length m in float64. Raises TypeError or ValueError that names the
    argument, such as a k above the rank that is possible for F.
    """
    problem = as_problem(model, data, **options)
    k = checked_integer("k", k, least=1)
    if of not in ("fisher", "hessian"):
        raise ValueError(f"of must be 'fisher' or 'hessian'; got {of!r}")
    most = rank_bound(problem) if of == "fisher" else None
    if most is not None and k > most.value:
        raise ValueError(
            f"k must be at most {most.value}, the largest rank possible for F ({most.source}); "
            f"got {k}"
        )
    if k > problem.num_parameters:
        raise ValueError(f"k must be at most m = {problem.num_parameters}; got {k}")
    product: Callable[[Tensor], Tensor]
    if of == "fisher":
        product = partial(_fisher_product, factor_operator(problem, dtype=dtype))
    else:
        product = hessian_operator(problem, dtype=dtype).product
    with tqdm(
        total=k, desc="eigenpairs", delay=SECONDS_BEFORE_PROGRESS, leave=False, disable=None
    ) as bar:

        def shown(products: int, converged: int) -> None:
            bar.update(max(0, min(k, converged) - bar.n))
            bar.set_postfix(products=products)

        return leading_eigenpairs(
            product,
            problem.num_parameters,
            k,
            tolerance=tolerance,
            seed=seed,
            max_products=max_products,
            device=problem.function.device,
            on_progress=shown,
        )


def _fisher_product(operator: FactorOperator, vectors: Tensor) -> Tensor:
    """F V = AᵀA V/N_F."""
    return operator.normal(vectors)[1] / len(operator.samples)


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
    terms = _terms(problem, pairs)
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


def _terms(problem: Problem, pairs: Eigenpairs) -> list[float]:
    """(1/N) Σ_i (g_i u_j)²/λ_j for each j with λ_j > 0, g_i u = v_iᵀ (A u)_i."""
    operator = factor_operator(problem, samples=problem.members.cpu())
    directions = pairs.eigenvectors[:, pairs.eigenvalues > 0]
    images = operator.forward(directions).unflatten(0, (problem.num_samples, -1))
    slopes = torch.einsum("nrk,nr->nk", images, problem.residuals())
    eigenvalues = pairs.eigenvalues[pairs.eigenvalues > 0]
    return (slopes.square().mean(dim=0) / eigenvalues).tolist()
