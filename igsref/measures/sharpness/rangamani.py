"""Scale-invariant flatness of Rangamani et al. (ICASSP 2021): the Hessian in a layer-wise metric.

Networks whose layers are rescaled by factors of product 1 are taken for one point of a quotient
manifold, with the metric ⟨u, v⟩ = Σ_l u_l·v_l/‖W_l‖_F² over the tensors W_l of θ. In it the Hessian
is the operator

    v ↦ (‖W_l‖_F² (Hv)_l)_l,   with the eigenvalues of the symmetric matrix D^½ H D^½,

D = diag(‖W_l‖_F²). As in the paper and its code there are no connection terms, so that it is the
Riemannian Hessian at critical points of the loss only, and no projection to the horizontal space.
Every bias is a tensor of its own here; the paper has networks without any. The factors ‖W_l‖² know
layers, not units: nothing is promised, or true, of scaling one node.

The loss is that of the labelled samples: a pool of inputs for F (``fisher_data``) changes nothing.
"""

from typing import Any, Unpack

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.hessian import hessian
from igsref.measures.measurement import Measure, Measurement
from igsref.problem import Problem, ProblemOptions, as_problem


def rangamani_norm(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Measurement:
    """Spectral norm max |λ| of D^½ H D^½, the Hessian in the metric of the tensors' norms.

    From all eigenvalues. The authors' code runs a power iteration and evaluates the quadratic form
    at its end, which is the same eigenvalue with its sign.
    memory: budget in bytes. options: as for :func:`igsref.as_problem`.

    Raises ValueError for a tensor of θ that is zero everywhere, where the metric is not defined;
    MemoryError, with the sizes, where H does not fit, and as
    :func:`igsref.curvature.hessian.hessian`.

    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> data = (torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0]]))
    >>> round(rangamani_norm(model, data, likelihood="gaussian").value, 9)  # |W|² · |x|²
    25.0
    """
    problem = as_problem(model, data, **options)
    size = _tensor_norms(problem)
    eigenvalues = torch.linalg.eigvalsh(size[:, None] * hessian(problem, memory=memory) * size)
    return Measurement(float(eigenvalues.abs().max()))


def rangamani_trace(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Measurement:
    """Tr(D^½ H D^½) = Σ_l ‖W_l‖_F² Tr H_ll, the trace of the same operator.

    memory: budget in bytes. options: as for :func:`igsref.as_problem`.
    Raises as :func:`rangamani_norm` does.

    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> data = (torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0]]))
    >>> round(rangamani_trace(model, data, likelihood="gaussian").value, 9)  # |W|² · |x|²
    50.0
    """
    problem = as_problem(model, data, **options)
    size = _tensor_norms(problem)
    return Measurement(float((size.square() * hessian(problem, memory=memory).diagonal()).sum()))


def _tensor_norms(problem: Problem) -> Float64[Tensor, " params"]:
    """The diagonal of D^½: for every entry of θ the norm of the tensor that it belongs to."""
    parts = []
    for name, value in problem.function.parameters.items():
        size = torch.linalg.vector_norm(value)
        if not float(size) > 0:
            raise ValueError(
                f"every tensor of θ must have a norm above 0, which the metric divides by; {name} "
                "is zero. Leave it out with parameters='…'"
            )
        parts.append(size.expand(value.numel()))
    return torch.cat(parts)


_SOURCE = (
    "Rangamani, Nguyen, Kumar, Phan, Chin, Tran, A scale invariant measure of flatness for deep "
    "network minima, ICASSP 2021"
)

RANGAMANI_NORM = Measure(
    name="Rangamani et al.",
    source=_SOURCE,
    compute=rangamani_norm,
    promised=frozenset({"layer scaling"}),
)
RANGAMANI_TRACE = Measure(
    name="Rangamani et al., trace",
    source=_SOURCE,
    compute=rangamani_trace,
    promised=frozenset({"layer scaling"}),
)
