"""V ↦ F V and V ↦ H V: what is asked of networks whose F and H cannot be formed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from tqdm import tqdm

from igsref.curvature.hessian_operator import hessian_operator
from igsref.curvature.operators import FactorOperator, factor_operator
from igsref.memory import FLOAT64_BYTES
from igsref.problem import Problem
from igsref.progress import SECONDS_BEFORE_PROGRESS

_COPIES = 5
"""Of each column: the image, its sum over batches, and what is split into tensors and scaled."""
_BESIDE = 8
"""Vectors that a product holds however many columns it has: θ, gradients, one column on its way."""


def check_curvature(of: str, dtype: torch.dtype) -> None:
    """Raise ValueError for another matrix than F or H, and for other derivatives than floats."""
    if of not in ("fisher", "hessian"):
        raise ValueError(f"of must be 'fisher' or 'hessian'; got {of!r}")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64; got {dtype}")


def curvature_product(
    problem: Problem, of: str, *, dtype: torch.dtype = torch.float64, width: int = 1
) -> Callable[[Tensor], Tensor]:
    """V ↦ F V of the pool, or V ↦ H V of the labelled samples, for ``width`` columns at once.

    of: "fisher" or "hessian". dtype: what derivatives are taken in; V and the result are float64.

    Raises as :func:`factor_operator`; ValueError for another matrix or dtype.
    """
    check_curvature(of, dtype)
    if of == "hessian":
        return hessian_operator(problem, dtype=dtype).product
    return fisher_product(factor_operator(problem, dtype=dtype, width=width))


def fisher_product(operator: FactorOperator) -> Callable[[Tensor], Tensor]:
    """V ↦ F V = AᵀA V/N_F, the mean over the operator's samples."""
    return lambda vectors: operator.normal(vectors)[1] / len(operator.samples)


def product_bytes(problem: Problem, width: int) -> int:
    """What a product of so many columns holds beside its batch, whose size follows what is free."""
    vectors = _BESIDE + _COPIES * width
    return FLOAT64_BYTES * (vectors * problem.num_parameters + 2 * width * problem.num_rows)


@contextmanager
def counted(
    product: Callable[[Tensor], Tensor], what: str, total: int | None = None
) -> Iterator[Callable[[Tensor], Tensor]]:
    """The product, with a bar that counts the columns it is given; ``total`` of them, if known."""
    with tqdm(
        total=total, desc=what, delay=SECONDS_BEFORE_PROGRESS, leave=False, disable=None
    ) as bar:

        def shown(vectors: Tensor) -> Tensor:
            image = product(vectors)
            bar.update(vectors.shape[1])
            return image

        yield shown
