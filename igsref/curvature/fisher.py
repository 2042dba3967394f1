"""The Fisher information matrix, its Gram matrix and its spectrum."""

from dataclasses import dataclass
from typing import Any, SupportsIndex, Unpack

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from igsref.arguments import checked_integer
from igsref.curvature.factor import reduced_factor
from igsref.jacobian.rows import jacobian_rows
from igsref.memory import check_budget, require_memory
from igsref.problem import Problem, ProblemOptions, as_problem


def fisher(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Float[Tensor, "params params"]:
    """Dense Fisher information matrix F = (1/N_F) Σ J_iᵀ Λ_i J_i, equation (2), (m, m).

    Parameters in θ's order (``problem.function.parameters``). memory: budget in bytes.
    Raises MemoryError, with the sizes, where F does not fit.
    """
    problem = as_problem(model, data, **options)
    rows = problem.pool_size * problem.num_classes
    m = problem.num_parameters
    require_memory(
        fisher_bytes(problem),
        check_budget(memory, problem.function.device),
        f"the dense Fisher matrix of {m} parameters, from {rows} Jacobian rows,",
        "igsref.spectrum(model, data, k=…) gives eigenpairs without forming it",
    )
    identity = torch.eye(problem.num_classes).to(problem.logits)
    jacobian = jacobian_rows(problem, identity.expand(problem.pool_size, -1, -1))
    weighted = problem.likelihood.metric(problem.logits) @ jacobian.view(
        problem.pool_size, problem.num_classes, m
    )
    return torch.mm(jacobian.mT, weighted.view(rows, m)) / problem.pool_size


def fisher_bytes(problem: Problem) -> int:
    """What :func:`fisher` takes: F, the Jacobian of all logits, and it once more, weighted."""
    rows, m = problem.pool_size * problem.num_classes, problem.num_parameters
    return problem.logits.element_size() * (m * m + 2 * rows * m)


def gram(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Float64[Tensor, "rows rows"]:
    """Gram matrix K = A Aᵀ of the reduced factor, (N·R, N·R): F's eigenvalues are K's over N.

    memory: budget in bytes. Raises MemoryError, with the sizes, where the factor does not fit.
    """
    problem = as_problem(model, data, **options)
    _require_factor(problem, memory, copies=1)
    factor = reduced_factor(problem)
    return factor @ factor.mT


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Leading eigenpairs of F: eigenvalues (k,) falling; eigenvectors (m, k), unit norm."""

    eigenvalues: Float64[Tensor, " k"]
    eigenvectors: Float64[Tensor, "params k"]


def spectrum(
    model: Any,
    data: Any = None,
    *,
    k: SupportsIndex = 20,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Spectrum:
    """The k largest eigenvalues of F and their eigenvectors, without forming F.

    λ_j = σ_j²/N from the singular values of the reduced factor, so that small eigenvalues keep
    digits that F itself has lost. Asking for more than min(N·R, m) gives those there are; the
    eigenvectors' signs make their largest entry positive.

    Raises TypeError unless k is an integer, ValueError for k < 1; MemoryError, with the sizes,
    where the factor does not fit.
    """
    k = checked_integer("k", k, least=1)
    problem = as_problem(model, data, **options)
    _require_factor(problem, memory, copies=3)
    factor = reduced_factor(problem)
    if factor.shape[0] <= factor.shape[1]:
        orthonormal, triangle = torch.linalg.qr(factor.mT)
        left, sigma, _ = torch.linalg.svd(triangle, full_matrices=False)
        vectors = orthonormal @ left[:, :k]
    else:
        triangle = torch.linalg.qr(factor, mode="r").R
        _, sigma, right = torch.linalg.svd(triangle, full_matrices=False)
        vectors = right[:k].mT
    return Spectrum(sigma[:k].square() / problem.pool_size, _with_sign(vectors))


def eigenvalues(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Float64[Tensor, " k"]:
    """All min(N·R, m) leading eigenvalues of F, falling; the others are 0.

    They come from singular values σ known to about 1e-16·σ_max, so those below 1e-32·λ_max are
    rounding. (They depend on the parametrisation, and nothing is rescaled here.)

    memory: budget in bytes. Raises MemoryError, with the sizes, where the factor does not fit.
    """
    problem = as_problem(model, data, **options)
    _require_factor(problem, memory, copies=2)
    factor = reduced_factor(problem)
    tall = factor.mT if factor.shape[0] <= factor.shape[1] else factor
    sigma = torch.linalg.svdvals(torch.linalg.qr(tall, mode="r").R)
    return sigma.square() / problem.pool_size


def _with_sign(vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
    peak = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    return torch.where(peak < 0, -vectors, vectors)


def _require_factor(problem: Problem, memory: int | None, copies: int) -> None:
    rows, columns = problem.num_rows, problem.num_parameters
    small = min(rows, columns)
    require_memory(
        8 * (copies * rows * columns + 4 * small * small),
        check_budget(memory, problem.function.device),
        f"the reduced factor of {rows} rows × {columns} parameters",
        "choose fewer samples, or fewer parameters with parameters='…'",
    )
