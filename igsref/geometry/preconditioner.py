"""Both sides of A made rounder for Krylov methods: A T on the right, W from each sample's rows.

On the right x = T y, and w − A T y is an honest residual of w whatever T is: (F_EKFAC + λI)^{−½}
here, the triangle of a sketch in :mod:`igsref.geometry.sketched`. On the left the weights
W_i = (A_i T Tᵀ A_iᵀ)⁺ of each sample's own rows decide where the next directions come from; bounds
are taken without them. Rows of A T that are orthonormal within a sample and nearly so between
samples make a Gram matrix near the identity: the usual case where the network has many more
parameters than rows. Where it has fewer the weights are no help.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from igsref.curvature.kfac import Ekfac
from igsref.jacobian.rows import chunk_size, jacobian_rows
from igsref.problem import Problem

DAMPING = 1e-7
"""λ, relative to the largest scaling of each block of EKFAC."""
_LEAST = 1e-12
"""Directions of a sample's own Gram matrix below that share of the largest have no weight."""


@runtime_checkable
class RightPreconditioner(Protocol):
    """T, (m, m). Its text says what it is, and what of it was cut."""

    @property
    def amplification(self) -> float:
        """‖A‖‖T‖/‖A T‖ about: how much of rounding in A X comes back in A T Y."""
        ...

    def apply(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """T X."""
        ...

    def transposed(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """Tᵀ X."""
        ...


@dataclass(frozen=True, eq=False)
class EkfacPreconditioner:
    """T = (F_EKFAC + λI)^{−½}, symmetric; λ relative to each block's largest scaling."""

    ekfac: Ekfac
    damping: float = DAMPING
    amplification: float = 1.0

    def apply(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """T X."""
        return self.ekfac.power(vectors, -0.5, self.damping)

    def transposed(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """Tᵀ X, the same."""
        return self.apply(vectors)

    def __str__(self) -> str:
        return f"EKFAC, damped by {self.damping:g} of each block's largest scaling"


@dataclass(frozen=True)
class NoPreconditioner:
    """T = I."""

    amplification: float = 1.0

    def apply(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """X."""
        return vectors

    def transposed(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """X."""
        return vectors

    def __str__(self) -> str:
        return "none"


def sample_weights(
    problem: Problem,
    right: RightPreconditioner,
    samples: Int64[Tensor, " samples"] | None = None,
) -> Float64[Tensor, "samples height height"]:
    """W_i = (A_i T Tᵀ A_iᵀ)⁺ of inputs of the pool (all unless given), from their rows.

    Some samples at a time.
    """
    height, m = problem.rows_per_sample, problem.num_parameters
    contrast, root = (
        problem.likelihood.contrast(problem.logits),
        problem.likelihood.root(problem.logits),
    )
    out = []
    size = chunk_size(2 * 8 * height * m)
    everywhere = torch.arange(problem.pool_size) if samples is None else samples.cpu()
    for chosen in everywhere.split(size):
        rows = jacobian_rows(problem, contrast, samples=chosen).view(len(chosen), height, m)
        rows = root[chosen.to(root.device)] @ rows
        right_rows = right.transposed(rows.flatten(0, 1).mT).mT.view_as(rows)
        out.append(_inverse(right_rows @ right_rows.mT))
    return torch.cat(out)


def _inverse(grams: Float64[Tensor, "samples height height"]) -> Tensor:
    """G_i⁺ by the eigenvalues above a share of the largest; exactly symmetric."""
    values, vectors = torch.linalg.eigh(grams)
    kept = values > _LEAST * values[:, -1:].clamp(min=torch.finfo(values.dtype).tiny)
    inverse = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
    out = (vectors * inverse[:, None, :]) @ vectors.mT
    return (out + out.mT) / 2
