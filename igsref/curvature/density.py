"""How the eigenvalues of F or of the Hessian H are spread, without either matrix."""

from typing import Any, SupportsIndex, Unpack

import torch

from igsref.arguments import checked_integer
from igsref.curvature.products import (
    check_curvature,
    counted,
    curvature_product,
    product_bytes,
)
from igsref.linalg.density import SpectralDensity, lanczos_quadrature, quadrature_vectors
from igsref.linalg.products import seeded
from igsref.memory import FLOAT64_BYTES, check_budget, require_memory
from igsref.problem import ProblemOptions, as_problem


def spectral_density(
    model: Any,
    data: Any = None,
    *,
    of: str = "fisher",
    probes: SupportsIndex = 10,
    steps: SupportsIndex = 50,
    seed: SupportsIndex = 0,
    dtype: torch.dtype = torch.float64,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> SpectralDensity:
    """The density of the eigenvalues of F, or of the Hessian H of the mean loss; matrix-free.

    Stochastic Lanczos quadrature: Ubaru, Chen, Saad, "Fast estimation of tr(f(A)) via stochastic
    Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38, 2017; for Hessians of networks, Ghorbani,
    Krishnan, Xiao, "An investigation into neural net optimization via Hessian eigenvalue
    density", ICML 2019. Nodes are in the units of the eigenvalues, nats for θ without a unit, and
    weights are shares of the m eigenvalues: ``smoothed`` gives the density on a grid, ``moment(d)``
    Tr(A^d)/m and its standard error over the probes. Eigenvalues that are 0 count too, and F of a
    network with more parameters than rows has mostly such.

    of: "fisher" or "hessian". probes: random vectors; with m or more of them the unit vectors are
        taken instead, and moments are exact to rounding.
    steps: nodes of each quadrature, m at most; moments up to degree 2·steps − 1.
    seed: of the random vectors; the global random states neither enter nor change.
    dtype: of derivatives. memory: budget in bytes, what is free unless given; ``steps`` vectors
        of length m are held. options: as for :func:`igsref.as_problem`.

    Raises TypeError or ValueError that names the argument; MemoryError, with the sizes, before
    any product.
    """
    check_curvature(of, dtype)
    count = checked_integer("probes", probes, least=1)
    nodes = checked_integer("steps", steps, least=1)
    seeded(seed)
    problem = as_problem(model, data, **options)
    m = problem.num_parameters
    nodes = min(nodes, m)
    require_memory(
        FLOAT64_BYTES * m * quadrature_vectors(nodes) + product_bytes(problem, 1),
        check_budget(memory, problem.function.device),
        f"a density by {nodes} steps with vectors of {m} parameters",
        "choose fewer steps, or fewer parameters with parameters='…'",
    )
    product = curvature_product(problem, of, dtype=dtype)
    with counted(product, "products", min(count, m) * nodes) as shown:
        return lanczos_quadrature(
            shown, m, probes=count, steps=nodes, seed=seed, device=problem.function.device
        )
