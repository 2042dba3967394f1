"""The trace of F or of the Hessian H without either matrix."""

from typing import Any, SupportsIndex, Unpack

import torch

from igsref.arguments import checked_integer
from igsref.curvature.products import (
    check_curvature,
    counted,
    curvature_product,
    product_bytes,
)
from igsref.linalg.products import seeded
from igsref.linalg.trace import TraceEstimate, sketch_vectors, trace_estimate
from igsref.memory import FLOAT64_BYTES, check_budget, require_memory
from igsref.problem import ProblemOptions, as_problem

_WIDTH = 8
"""Columns that are multiplied at once: some of a pass over the data is shared by them."""


def curvature_trace(
    model: Any,
    data: Any = None,
    *,
    of: str = "fisher",
    products: SupportsIndex = 90,
    seed: SupportsIndex = 0,
    dtype: torch.dtype = torch.float64,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> TraceEstimate:
    """Tr F, or Tr H of the Hessian of the mean loss, by Hutch++; matrix-free.

    Meyer, Musco, Musco, Woodruff, "Hutch++: Optimal stochastic trace estimation", SOSA 2021: a
    third of the products finds the directions of the largest eigenvalues, a third takes the trace
    on them, and a third estimates the rest from random signs. Unbiased, also for H, which need not
    be semi-definite. In nats, for θ without a unit.

    of: "fisher" or "hessian". products: columns that are multiplied, at least 4 (m if that is
        less); with m or more of them the trace is exact to rounding.
    seed: of the random signs; the global random states neither enter nor change.
    dtype: of derivatives; float32 adds an error that ``standard_error`` does not know.
    memory: budget in bytes, what is free unless given; two thirds of ``products`` are held as
        vectors of length m. options: as for :func:`igsref.as_problem`.

    Returns the value, its standard error (0 where it is exact; see
    :func:`igsref.linalg.trace.trace_estimate`) and the number of products.

    Raises TypeError or ValueError that names the argument; MemoryError, with the sizes, before
    any product.

    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> data = (torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0]]))
    >>> curvature_trace(model, data, of="hessian", likelihood="gaussian")  # |x|²
    TraceEstimate(value=5.0, standard_error=0.0, products=2)
    """
    check_curvature(of, dtype)
    count = checked_integer("products", products, least=1)
    seeded(seed)
    problem = as_problem(model, data, **options)
    m = problem.num_parameters
    checked_integer("products", count, least=min(4, m))
    require_memory(
        FLOAT64_BYTES * m * sketch_vectors(count, _WIDTH) + product_bytes(problem, _WIDTH),
        check_budget(memory, problem.function.device),
        f"a trace from {count} products with vectors of {m} parameters",
        "choose fewer products, or fewer parameters with parameters='…'",
    )
    product = curvature_product(problem, of, dtype=dtype, width=_WIDTH)
    with counted(product, "products", min(count, m)) as shown:
        return trace_estimate(
            shown, m, products=count, seed=seed, block=_WIDTH, device=problem.function.device
        )
