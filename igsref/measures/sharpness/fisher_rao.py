"""The Fisher–Rao norm of Liang, Poggio, Rakhlin, Stokes (AISTATS 2019): ‖θ‖²_fr = θᵀFθ.

For ReLU networks without biases, of L+1 linear layers, Σ_j θ_j ∂f/∂θ_j = (L+1) f, so that

    θᵀFθ = (L+1)² (1/N) Σ_i Σ_c p_ic (Σ_j p_ij f_ij − f_ic)²,

the paper's Theorem 3.1 for the cross-entropy: a function of the logits and the depth, the same
for all such networks that compute one function. Beyond it, θᵀFθ stays as it is under linear maps
of θ, biases or not, and steps along directions in which the outputs stand still (a shift of the
softmax). It moves under others: it knows where the origin of parameter space is.
"""

from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.curvature.loss import parameter_vector
from igsref.jacobian.rows import chunk_size, jacobian_rows
from igsref.measures.measurement import Measure, Measurement
from igsref.problem import Problem, ProblemOptions, as_problem


def fisher_rao_norm(model: Any, data: Any = None, **options: Unpack[ProblemOptions]) -> Measurement:
    """‖θ‖²_fr = θᵀFθ = (1/N_F) Σ_i ‖A_i θ‖², F the Fisher matrix, an expectation over labels.

    The square of the norm, as the paper's formula; published code takes the root at times, and
    computes the closed form of the module's docstring for networks that do have biases, where it
    is another number. No labels enter. F is a mean over the pool where ``fisher_data`` gives one.
    options: as for :func:`igsref.as_problem`.

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 2.0)
    >>> data = (torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))
    >>> fisher_rao_norm(model, data, likelihood="gaussian").value  # θ² times the mean of x²
    20.0
    """
    problem = as_problem(model, data, **options)
    contrast = problem.likelihood.contrast(problem.logits)
    slopes = _slopes(problem, contrast, torch.arange(problem.pool_size))
    along = problem.likelihood.root(problem.logits) @ slopes[:, :, None]
    return Measurement(float(along.square().sum()) / problem.pool_size)


def empirical_fisher_rao_norm(
    model: Any, data: Any = None, **options: Unpack[ProblemOptions]
) -> Measurement:
    """θᵀF̂θ = (1/N) Σ_i (g_i θ)², with the empirical Fisher matrix F̂ = (1/N) Σ_i g_iᵀ g_i.

    Gradients are those of the labelled samples; a pool (``fisher_data``) changes nothing. For
    ReLU networks without biases the closed form (L+1)² (1/N) Σ_i (Σ_j p_ij f_ij − f_{i,y_i})².
    options: as for :func:`igsref.as_problem`.

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 2.0)
    >>> data = (torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [5.0]]))
    >>> empirical_fisher_rao_norm(model, data, likelihood="gaussian").value  # (0² + (1·3·2)²)/2
    18.0
    """
    problem = as_problem(model, data, **options)
    u = torch.zeros_like(problem.logits)
    u[problem.members] = problem.likelihood.output_gradient(
        problem.labelled_logits, problem.targets
    )
    slopes = _slopes(problem, u[:, None, :], problem.members)
    return Measurement(float(slopes.square().sum()) / problem.num_samples)


def _slopes(
    problem: Problem, cotangents: Float[Tensor, "pool rows classes"], samples: Tensor
) -> Float[Tensor, "chosen rows"]:
    """K_i J_i θ of the chosen samples, a chunk of their rows in memory at a time."""
    theta, height = parameter_vector(problem), cotangents.shape[1]
    size = chunk_size(height * problem.num_parameters * theta.element_size())
    parts = [
        jacobian_rows(problem, cotangents, samples=chosen) @ theta for chosen in samples.split(size)
    ]
    return torch.cat(parts).view(len(samples), height)


_SOURCE = (
    "Liang, Poggio, Rakhlin, Stokes, Fisher-Rao metric, geometry, and complexity of neural "
    "networks, AISTATS 2019"
)

FISHER_RAO = Measure(
    name="Fisher–Rao",
    source=_SOURCE,
    compute=fisher_rao_norm,
    promised=frozenset({"layer scaling", "node scaling"}),
)
EMPIRICAL_FISHER_RAO = Measure(
    name="Fisher–Rao, empirical",
    source=_SOURCE,
    compute=empirical_fisher_rao_norm,
    promised=frozenset({"layer scaling", "node scaling"}),
)
