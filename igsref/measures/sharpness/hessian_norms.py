"""Trace and largest eigenvalue of the Hessian H of the training loss: Tr(H), λ_max(H).

The classical measures, and those whose dependence on the parametrisation Dinh et al. (ICML 2017)
made known. Nothing is promised of them; since they are functions of the eigenvalues of H, they
stay as they are under permutations, sign flips and all orthogonal maps of θ, and since H is, under
a shift of the softmax. Every scaling moves them.

The loss is that of the labelled samples: a pool of inputs for F (``fisher_data``) changes nothing.
"""

from typing import Any, Unpack

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.hessian import hessian
from igsref.measures.measurement import Measure, Measurement
from igsref.problem import Problem, ProblemOptions, as_problem


def hessian_trace(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Measurement:
    """Tr(H), the sum of the eigenvalues of ∂²L/∂θ², L the mean loss.

    From the dense Hessian in float64; the literature estimates it by random probes, as
    ``igsref.curvature_trace(…, of="hessian")`` does for networks whose H does not fit. For a
    network that is linear in each of its parameters on its own, as ReLU networks are piecewise, it
    is Tr F.
    memory: budget in bytes. options: as for :func:`igsref.as_problem`.

    Raises MemoryError, with the sizes, where H does not fit, and as
    :func:`igsref.curvature.hessian.hessian`.

    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> data = (torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0]]))
    >>> hessian_trace(model, data, likelihood="gaussian").value  # |x|²
    5.0
    """
    problem = as_problem(model, data, **options)
    instead = "igsref.curvature_trace(…, of='hessian') estimates the trace without forming H"
    return Measurement(float(_dense(problem, memory, instead).trace()))


def hessian_norm(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Measurement:
    """λ_max(H), the largest eigenvalue of ∂²L/∂θ² with its sign, from all eigenvalues.

    It is the spectral norm of H unless a negative eigenvalue is the larger one in size, as it may
    be far from a minimum; it is itself negative where all eigenvalues are. (A power iteration, as
    in much published code, finds the eigenvalue that is largest in size.) Where H does not fit,
    ``igsref.top_eigenpairs(…, k=1, of="hessian")`` finds it without forming H.
    memory: budget in bytes. options: as for :func:`igsref.as_problem`.

    Raises MemoryError, with the sizes, where H does not fit, and as
    :func:`igsref.curvature.hessian.hessian`.

    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> data = (torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))
    >>> hessian_norm(model, data, likelihood="gaussian").value  # of diag(9, 1)/2
    4.5
    """
    problem = as_problem(model, data, **options)
    instead = "igsref.top_eigenpairs(…, k=1, of='hessian') finds λ_max without forming H"
    return Measurement(float(torch.linalg.eigvalsh(_dense(problem, memory, instead))[-1]))


def _dense(problem: Problem, memory: int | None, instead: str) -> Float64[Tensor, "params params"]:
    """H; where it does not fit, the error says what to do instead, too."""
    try:
        return hessian(problem, memory=memory)
    except MemoryError as error:
        raise MemoryError(f"{error}; {instead}") from error


_SOURCE = "Dinh, Pascanu, Bengio, Bengio, Sharp minima can generalize for deep nets, ICML 2017"

HESSIAN_TRACE = Measure(name="Tr(H)", source=_SOURCE, compute=hessian_trace)
HESSIAN_NORM = Measure(name="λmax(H)", source=_SOURCE, compute=hessian_norm)
