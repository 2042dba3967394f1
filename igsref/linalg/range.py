"""The range of a matrix: what its projector P does to vectors, and how a basis is found.

All routes end here in one of two spaces with the same face: the whole of R^n, or the subspace
that an orthonormal basis spans.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import scipy.linalg
import torch
from jaxtyping import Float64, Int64
from threadpoolctl import ThreadpoolController
from torch import Tensor

_SAMPLES_AT_ONCE = 256
_SMALL = 1500
"""Columns up to which one thread is fastest: geqp3 meets at a barrier in every column, and on a
busy machine waits there."""
_BLAS = ThreadpoolController()
_KNOWN_TO = (0.3, 1e-3, 1e-6, 1e-9)
_GOOD_ENOUGH = 1e-9


@runtime_checkable
class Space(Protocol):
    """A subspace of R^n with its orthogonal projector P."""

    @property
    def dimension(self) -> int:
        """tr P."""
        ...

    def energy(self, vectors: Float64[Tensor, "n k"]) -> Float64[Tensor, " k"]:
        """‖P V_j‖² of each column."""
        ...

    def block_energy(self, blocks: Float64[Tensor, "samples rows"]) -> Float64[Tensor, " samples"]:
        """‖P v_i‖², v_i the vector that holds block i in its place and 0 elsewhere."""
        ...

    def block_rounding(
        self, blocks: Float64[Tensor, "samples rows"]
    ) -> tuple[Float64[Tensor, " samples"], Float64[Tensor, " samples"]]:
        """By how much each exact ‖P v_i‖² may be smaller, and larger: an estimate."""
        ...


@dataclass(frozen=True)
class WholeSpace:
    """R^n itself: P = I."""

    dimension: int

    def energy(self, vectors: Float64[Tensor, "n k"]) -> Float64[Tensor, " k"]:
        """‖V_j‖²."""
        return vectors.square().sum(dim=0)

    def block_energy(self, blocks: Float64[Tensor, "samples rows"]) -> Float64[Tensor, " samples"]:
        """‖v_i‖²."""
        return blocks.square().sum(dim=1)

    def block_rounding(
        self, blocks: Float64[Tensor, "samples rows"]
    ) -> tuple[Float64[Tensor, " samples"], Float64[Tensor, " samples"]]:
        """Nothing: P is known exactly."""
        return torch.zeros_like(blocks[:, 0]), torch.zeros_like(blocks[:, 0])


@dataclass(frozen=True, eq=False)
class Subspace:
    """The range of a matrix B = Q R of full column rank r, known up to rounding.

    basis: Q, (n, r), orthonormal. triangle: R, (r, r), upper, its columns pivoted.
    column_error: c, (r,), and row_weight: w, (n,): entry (j, k) of B is known to w_j c_k.
    """

    basis: Float64[Tensor, "n r"]
    triangle: Float64[Tensor, "r r"]
    column_error: Float64[Tensor, " r"]
    row_weight: Float64[Tensor, " n"]

    @property
    def dimension(self) -> int:
        """r."""
        return self.basis.shape[1]

    def energy(self, vectors: Float64[Tensor, "n k"]) -> Float64[Tensor, " k"]:
        """‖QᵀV_j‖²."""
        return (self.basis.mT @ vectors).square().sum(dim=0)

    def block_energy(self, blocks: Float64[Tensor, "samples rows"]) -> Float64[Tensor, " samples"]:
        """‖Q_iᵀ v_i‖², Q_i the rows of the basis that belong to block i."""
        return self._coordinates(blocks).square().sum(dim=1)

    def block_rounding(
        self, blocks: Float64[Tensor, "samples rows"]
    ) -> tuple[Float64[Tensor, " samples"], Float64[Tensor, " samples"]]:
        """By how much each exact ‖P v_i‖² may be smaller, and larger: an estimate.

        Direction k of Q is off by at most δ_k, δ_k² = Σ_{j≤k} ‖E |R⁻¹|_j‖², E = w cᵀ: later
        directions, the ones that stand in small rows alone, are known ever worse. The energy
        below any cut is known to first order in E, and leaving the rest out makes it smaller
        only: the best of several cuts is taken. Larger it may be by the first-order effect on all
        directions, and by any amount (infinity) if some are not known at all.
        """
        z = self._coordinates(blocks)
        inverse = self._inverse()
        error = self._direction_error(inverse)
        smaller = moved = self._moved(blocks, z, inverse)
        if float(moved.sum()) > _GOOD_ENOUGH * float(z.square().sum()):
            cuts = {int((error < known).sum()) for known in _KNOWN_TO} - {self.dimension}
            estimates = [moved] + [
                self._moved(blocks, z[:, :cut], inverse[:cut, :cut])
                + z[:, cut:].square().sum(dim=1)
                for cut in sorted(cuts)
            ]
            smaller = min(estimates, key=lambda estimate: float(estimate.sum()))
        known = bool((error < max(_KNOWN_TO)).all())
        return smaller, moved if known else torch.full_like(moved, torch.inf)

    def _inverse(self) -> Float64[Tensor, "r r"]:
        return invert_triangle(self.triangle, upper=True)

    def _direction_error(self, inverse: Tensor) -> Float64[Tensor, " r"]:
        """δ_k, rising."""
        each = self.row_weight.norm() * (self.column_error @ inverse.abs())
        return each.square().cumsum(dim=0).sqrt()

    def _moved(self, blocks: Tensor, z: Tensor, inverse: Tensor) -> Tensor:
        """2 |r_i|ᵀE|x_i| + ‖E|x_i|‖² for r_i = v_i − P v_i, P v_i = B x_i, on z's columns."""
        outside = torch.cat(
            [
                self._weighted_residual(blocks, z, start)
                for start in range(0, len(blocks), _SAMPLES_AT_ONCE)
            ]
        )
        moved = (z @ inverse.mT).abs() @ self.column_error[: z.shape[1]]
        return 2 * outside * moved + (self.row_weight.norm() * moved).square()

    def _coordinates(self, blocks: Float64[Tensor, "samples rows"]) -> Float64[Tensor, "samples r"]:
        own = self.basis.view(*blocks.shape, self.dimension)
        return torch.einsum("nrk,nr->nk", own, blocks)

    def _weighted_residual(self, blocks: Tensor, z: Tensor, start: int) -> Tensor:
        """Σ_rows weight·|v_i − Q z_i| of some samples, Q cut as z is."""
        stop = min(start + _SAMPLES_AT_ONCE, len(blocks))
        inside = z[start:stop] @ self.basis[:, : z.shape[1]].mT
        residual = -inside.view(stop - start, *blocks.shape)
        residual[torch.arange(stop - start), torch.arange(start, stop)] += blocks[start:stop]
        return residual.view(stop - start, -1).abs() @ self.row_weight


def lower_triangle(matrix: Float64[Tensor, "n m"]) -> Float64[Tensor, "n n"]:
    """L of matrix = L Qᵀ for n ≤ m: the same range from n² numbers.

    Householder QR of the transpose. Its backward error is relative to each *row* of the matrix
    (Higham, Accuracy and Stability of Numerical Algorithms, Theorem 19.4), so rows may differ in
    size by any factor.
    """
    return torch.linalg.qr(matrix.mT, mode="r").R.mT


def pivoted_basis(
    matrix: Float64[Tensor, "n k"],
) -> tuple[Float64[Tensor, "n k"], Float64[Tensor, " k"]]:
    """Q and |diag R| of matrix·Π = Q R, columns pivoted: the range, best-known direction first.

    |R_kk| falls and stays close to the singular values (Chan, "Rank revealing QR
    factorizations", 1987, and its practice). Needs n ≥ k. LAPACK's geqp3, so on the CPU.
    """
    orthonormal, triangle, _ = _pivoted_qr(matrix)
    return orthonormal, triangle.diagonal().abs()


def graded_qr(
    matrix: Float64[Tensor, "n r"],
) -> tuple[Float64[Tensor, "n r"], Float64[Tensor, "r r"], Int64[Tensor, " r"]]:
    """Q, R and Π of matrix·Π = Q R, for rows that differ in size by many orders of magnitude.

    Rows in falling order of size and pivoted columns make the backward error of Householder QR
    relative to each row (Cox & Higham, "Stability of Householder QR factorization for weighted
    least squares problems", 1998).
    """
    if matrix.shape[1] == 0:
        return matrix, matrix.new_empty(0, 0), torch.empty(0, dtype=torch.int64).to(matrix.device)
    order = matrix.abs().amax(dim=1).argsort(descending=True, stable=True)
    sorted_basis, triangle, pivots = _pivoted_qr(matrix[order])
    basis = torch.empty_like(matrix)
    basis[order] = sorted_basis
    return basis, triangle, pivots


def _pivoted_qr(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """LAPACK's geqp3, which torch does not have, on the CPU."""
    few = 1 if matrix.shape[1] <= _SMALL else None
    with _BLAS.limit(limits=few, user_api="blas"):
        orthonormal, triangle, pivots = scipy.linalg.qr(
            matrix.cpu().numpy(), mode="economic", pivoting=True, check_finite=False
        )
    return (
        torch.from_numpy(orthonormal).to(matrix),
        torch.from_numpy(triangle).to(matrix),
        torch.from_numpy(pivots).long().to(matrix.device),
    )


def full_rank_margin(triangle: Float64[Tensor, "n n"], error: float) -> float:
    """A lower bound on σ_min/error of a lower triangle: above 1, its full rank is shown.

    1/(‖L⁻¹‖_F·error), since ‖L⁻¹‖_F ≥ 1/σ_min; 0, without inverting anything, where some
    |L_kk| ≥ σ_min does not exceed the error.
    """
    if error <= 0 or bool((triangle.diagonal().abs() <= error).any()):
        return 0.0
    norm = float(invert_triangle(triangle, upper=False).norm())
    return 1 / (norm * error) if norm == norm else 0.0


def invert_triangle(triangle: Float64[Tensor, "n n"], *, upper: bool) -> Float64[Tensor, "n n"]:
    """T⁻¹; LAPACK's trtri where torch has none (CPU): a third of the work of solving for I."""
    if len(triangle) == 0:
        return triangle
    if triangle.device.type == "cpu":
        inverse, _ = scipy.linalg.lapack.dtrtri(triangle.numpy(), lower=not upper)
        return torch.from_numpy(inverse)
    unit = torch.eye(len(triangle), dtype=triangle.dtype, device=triangle.device)
    return torch.linalg.solve_triangular(triangle, unit, upper=upper)
