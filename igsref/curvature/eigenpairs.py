"""Leading eigenpairs of F and of the Hessian H without either matrix."""

from collections.abc import Callable
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
from igsref.problem import ProblemOptions, as_problem
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
