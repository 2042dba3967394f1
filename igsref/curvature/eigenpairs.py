"""Leading eigenpairs of F and of the Hessian H without either matrix."""

from typing import Any, SupportsIndex, Unpack

import torch
from tqdm import tqdm

from igsref.arguments import checked_integer, checked_positive
from igsref.curvature.products import check_curvature, curvature_product, product_bytes
from igsref.curvature.rank_bound import rank_bound
from igsref.linalg.lanczos import Eigenpairs, leading_eigenpairs
from igsref.linalg.products import seeded
from igsref.memory import FLOAT64_BYTES, check_budget, require_memory
from igsref.problem import Problem, ProblemOptions, as_problem
from igsref.progress import SECONDS_BEFORE_PROGRESS


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
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Eigenpairs:
    """The k leading eigenpairs of F, or of the Hessian H of the loss, by Lanczos; matrix-free.

    of: "fisher" for the largest eigenvalues of F, "hessian" for the largest of H, algebraically.
    tolerance: ‖M v − λ v‖ ≤ tolerance · |λ_1| for each pair, by a fresh product in ``dtype``.
    max_products: so many products at most; pairs that are not there by then are not ``converged``.
    dtype: of derivatives; float32 reaches tolerances of some 1e-6 only.
    memory: budget in bytes, what is free unless given; some 3k vectors of length m are held.
    options: as for :func:`igsref.as_problem`.

    Raises TypeError or ValueError that names the argument, such as a k above the rank that is
    possible for F; MemoryError, with the sizes, before any product.
    """
    k = checked_integer("k", k, least=1)
    check_curvature(of, dtype)
    checked_positive("tolerance", tolerance)
    seeded(seed)
    problem = as_problem(model, data, **options)
    _check_number(k, problem, of)
    require_memory(
        _bytes(k, problem),
        check_budget(memory, problem.function.device),
        f"Lanczos for {k} eigenpairs with vectors of {problem.num_parameters} parameters",
        "choose a smaller k, or fewer parameters with parameters='…'",
    )
    product = curvature_product(problem, of, dtype=dtype)
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


def _bytes(k: int, problem: Problem) -> int:
    """What the basis of :func:`leading_eigenpairs`, its copy and a product hold at once."""
    m = problem.num_parameters
    return FLOAT64_BYTES * m * (min(m, 2 * k + 32) + k) + product_bytes(problem, 1)


def _check_number(k: int, problem: Problem, of: str) -> None:
    """Raise ValueError for more eigenpairs than there are, or than F can have that are not 0."""
    most = rank_bound(problem) if of == "fisher" else None
    if most is not None and k > most.value:
        raise ValueError(
            f"k must be at most {most.value}, the largest rank possible for F ({most.source}); "
            f"got {k}"
        )
    if k > problem.num_parameters:
        raise ValueError(f"k must be at most m = {problem.num_parameters}; got {k}")
