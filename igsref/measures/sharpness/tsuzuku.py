"""Normalised sharpness: curvature and size of each weight matrix, rows and columns scaled at best.

Σ over weight matrices of min over s₁, s₂ > 0 of s₂ᵀ h s₁ + (1/s₂)ᵀ w (1/s₁), w_ij = W_ij² and h_ij
the curvature ∂²L/∂W_ij². Tsuzuku, Sato, Sugiyama, "Normalized Flat Minima: Exploring Scale
Invariant Definition of Flat Minima for Neural Networks Using PAC-Bayesian Analysis", ICML 2020.
"""

import math
from typing import Any, SupportsFloat, Unpack

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.flat import unflatten
from igsref.jacobian.rows import chunk_size, jacobian_rows
from igsref.linalg.geometric_programme import scaled_sum_minimum
from igsref.measures.measurement import Measure, Measurement
from igsref.measures.sharpness.neighbourhood import checked_allowance
from igsref.problem import Problem, ProblemOptions, as_problem


def normalized_sharpness(
    model: Any,
    data: Any = None,
    *,
    tolerance: SupportsFloat = 1e-12,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """Σ_l min_{s₁,s₂>0} Σ_ij h_ij s₂_i s₁_j + W_ij²/(s₂_i s₁_j), each minimum proven to its gap.

    tolerance: the relative gap at which the search for a minimum ends.
    options: as for ``igsref.as_problem``; a Problem or Geometry may stand for (model, data).
    Returns the value that the scalings found attain or approach; the exact infimum lies in
    [value − uncertainty, value].

    Against the paper: the minimum is found by Newton's method on the geometric programme, with a
    dual bound, in place of steps of gradient descent. h is the diagonal of the generalised
    Gauss–Newton matrix, (1/N) Σ_i Σ_c (∂f_ic/∂W)² weighted by Λ_i, where the paper writes
    diag(H): the programme is convex for h ≥ 0 only and unbounded below where the negative part
    of diag(H) can be scaled up. In networks with piecewise linear activations in which no path
    meets a weight twice, as ReLU networks are, both are the same numbers; elsewhere this is
    another measure, and nothing is clamped.

    A matrix is a tensor of θ with two dimensions or more: rows along the first, columns along the
    second, sums over the rest (the positions of a convolution's kernel). Other tensors, biases
    among them, do not count. Scaling of single channels is undone only where they lie along these
    two dimensions, which in a grouped or depthwise convolution those of the input do not.

    Raises ValueError where θ holds no matrix, and for a tolerance that is negative or not finite;
    TypeError for one that is no number.
    """
    allowed = checked_allowance("tolerance", tolerance)
    problem = as_problem(model, data, **options)
    _check_matrices(problem)
    curvature = unflatten(gauss_newton_diagonal(problem), problem.function.parameters)
    minima = [
        scaled_sum_minimum(_matrix(curvature[name]), _matrix(weight.square()), tolerance=allowed)
        for name, weight in problem.function.parameters.items()
        if weight.ndim >= 2
    ]
    value = math.fsum(minimum.value for minimum in minima)
    return Measurement(value, math.fsum(minimum.gap for minimum in minima), "bounded")


def gauss_newton_diagonal(problem: Problem) -> Float64[Tensor, " params"]:
    """(1/N) Σ_i diag(J_iᵀ Λ_i J_i) over the labelled samples, (m,); sums of squares of the rows.

    Equal to diag(H) where every logit is piecewise linear in each single parameter.
    """
    contrast = problem.likelihood.contrast(problem.logits)
    root = problem.likelihood.root(problem.logits)
    total = torch.zeros(problem.num_parameters, dtype=root.dtype, device=root.device)
    size = chunk_size(root.shape[1] * problem.num_parameters * root.element_size())
    for chosen in problem.members.split(size):
        rows = jacobian_rows(problem, contrast, samples=chosen)
        whitened = root[chosen] @ rows.view(len(chosen), root.shape[1], -1)
        total += whitened.square().sum(dim=(0, 1))
    return total / problem.num_samples


def _check_matrices(problem: Problem) -> None:
    shapes = {name: tuple(value.shape) for name, value in problem.function.parameters.items()}
    if not any(len(shape) >= 2 for shape in shapes.values()):
        raise ValueError(
            "model must have a weight matrix, whose rows and columns can be scaled; its parameters "
            f"have the shapes {shapes}"
        )


def _matrix(weight: Tensor) -> Tensor:
    """Rows by columns, summed over what else there is."""
    return weight.flatten(2).sum(dim=2) if weight.ndim > 2 else weight


NORMALIZED_SHARPNESS = Measure(
    name="normalized sharpness",
    source="Tsuzuku, Sato, Sugiyama, ICML 2020",
    compute=normalized_sharpness,
    promised=frozenset({"layer scaling", "node scaling"}),
)
"""Layer and node scaling multiply rows and columns, which the minimum undoes."""
