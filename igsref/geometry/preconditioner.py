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

from igsref.curvature.kfac import Ekfac, ekfac, row_grams
from igsref.jacobian.rows import chunk_size, jacobian_rows
from igsref.linalg.equilibrate import power_of_two_scale
from igsref.linalg.products import seeded
from igsref.memory import FLOAT64_BYTES
from igsref.problem import Problem

DAMPING = 1e-7
"""λ, relative to the largest scaling of each block of EKFAC."""
EKFAC_INPUTS = 4096
"""Of a larger pool so many are enough for a preconditioner: its cost grows with them."""
_LEAST = 1e-12
"""Directions of a sample's own Gram matrix, its rows brought to one length, below that share of the
largest have no weight. float32 makes rows wrong by some 1e-7, and eigenvalues by its square."""


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

    def row_grams(
        self, problem: Problem, samples: Int64[Tensor, " samples"]
    ) -> Float64[Tensor, "samples height height"]:
        """A_i T Tᵀ A_iᵀ of inputs of the problem's pool."""
        ...


@dataclass(frozen=True, eq=False)
class EkfacPreconditioner:
    """T = (F_EKFAC + λI)^{−½}, symmetric; λ relative to each block's largest scaling.

    samples: how many inputs EKFAC is of, if it is not of all.
    """

    ekfac: Ekfac
    damping: float = DAMPING
    amplification: float = 1.0
    samples: int | None = None

    def apply(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """T X."""
        return self.ekfac.power(vectors, -0.5, self.damping)

    def transposed(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """Tᵀ X, the same."""
        return self.apply(vectors)

    def row_grams(
        self, problem: Problem, samples: Int64[Tensor, " samples"]
    ) -> Float64[Tensor, "samples height height"]:
        """A_i T² A_iᵀ, from what the layers read and gave."""
        return row_grams(problem, self.ekfac, -0.5, self.damping, samples=samples)

    def __str__(self) -> str:
        of = "" if self.samples is None else f" of {self.samples} inputs"
        return f"EKFAC{of}, damped by {self.damping:g} of each block's largest scaling"


def ekfac_preconditioner(
    problem: Problem, seed: int, memory: int, dtype: torch.dtype
) -> EkfacPreconditioner:
    """EKFAC of the pool, or of ``EKFAC_INPUTS`` of it drawn under ``seed``: T need not be exact."""
    samples = None
    if problem.pool_size > EKFAC_INPUTS:
        drawn = torch.randperm(problem.pool_size, generator=seeded(seed))
        samples = drawn[:EKFAC_INPUTS].sort().values
    approximation = ekfac(problem, samples=samples, dtype=dtype, memory=memory)
    count = None if samples is None else len(samples)
    return EkfacPreconditioner(approximation, samples=count)


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

    def row_grams(
        self, problem: Problem, samples: Int64[Tensor, " samples"]
    ) -> Float64[Tensor, "samples height height"]:
        """A_i A_iᵀ."""
        return dense_row_grams(problem, self, samples)

    def __str__(self) -> str:
        return "none"


def dense_row_grams(
    problem: Problem, right: RightPreconditioner, samples: Int64[Tensor, " samples"]
) -> Float64[Tensor, "samples height height"]:
    """A_i T Tᵀ A_iᵀ from the rows of A_i T, some samples at a time."""
    height, m = problem.rows_per_sample, problem.num_parameters
    likelihood, logits = problem.likelihood, problem.logits
    cotangents = likelihood.root(logits) @ likelihood.contrast(logits)
    out = []
    for chosen in samples.cpu().split(chunk_size(2 * FLOAT64_BYTES * height * m)):
        rows = jacobian_rows(problem, cotangents, samples=chosen)
        rows = right.transposed(rows.mT).mT.view(len(chosen), height, m)
        out.append(rows @ rows.mT)
    return torch.cat(out)


def sample_weights(
    problem: Problem,
    right: RightPreconditioner,
    samples: Int64[Tensor, " samples"] | None = None,
) -> Float64[Tensor, "samples height height"]:
    """W_i, inverses of A_i T Tᵀ A_iᵀ for inputs of the pool (all unless given), or generalised."""
    everywhere = torch.arange(problem.pool_size) if samples is None else samples
    return _inverse(right.row_grams(problem, everywhere))


def _inverse(grams: Float64[Tensor, "samples height height"]) -> Tensor:
    """S (S G_i S)⁺ S by the eigenvalues above a share of the largest; exactly symmetric.

    S, powers of two, brings rows to one length: those of confident samples differ by far more than
    that share. A_iᵀ W_i A_i is the projector on A_i's rows, as with G_i⁺, which it is where no
    eigenvalue is left out.
    """
    lengths = grams.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt()
    scales = power_of_two_scale(lengths.flatten()).view_as(lengths)
    scaled = scales[:, :, None] * grams * scales[:, None, :]
    values, vectors = torch.linalg.eigh(scaled)
    kept = values > _LEAST * values[:, -1:].clamp(min=torch.finfo(values.dtype).tiny)
    inverse = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
    out = (vectors * inverse[:, None, :]) @ vectors.mT
    return scales[:, :, None] * (out + out.mT) / 2 * scales[:, None, :]
