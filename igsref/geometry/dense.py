"""The dense route: the whole reduced factor in memory, orthogonal factorisations only.

1. D, the class differences of the Jacobian, without its noise columns, rows and columns scaled
   by powers of two. Nothing of p is in it yet, and its rank is the rank of F.
2. Wide: its n × n triangle. If σ_min exceeds the error bound, range(A) = R^n: saturated.
3. Otherwise a basis U of range(D) by pivoted QR, cut where the columns are rounding.
4. range(A) = range(blockdiag(Lᵀ) S⁻¹ U), S the row scales: QR with sorted rows and pivoted
   columns, which keeps the digits of small rows beside large ones.
"""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.factor import apply_root, differences
from igsref.geometry.plan import DENSE, require_dense
from igsref.jacobian.rounding import estimate_rounding
from igsref.linalg.equilibrate import equilibrate_
from igsref.linalg.range import (
    Space,
    Subspace,
    WholeSpace,
    full_rank_margin,
    graded_qr,
    lower_triangle,
    pivoted_basis,
)
from igsref.problem import Problem

_UNIT = 2.0**-53
_FAR_ABOVE = 1e3
_FAR_BELOW = 10.0
_WORTH_A_COPY = 0.9


@dataclass(frozen=True, eq=False)
class Geometry:
    """The range of the reduced factor of a problem, ready for every measure.

    space: answers ``energy`` and ``block_energy`` in data space R^{N·R}.
    saturated: range(A) is the whole data space, by a margin above the estimated rounding.
    margin: σ_min/error of the scaled D (a lower bound; 0 where N·R > m rules it out).
    clear_rank: no direction stands less than 1,000 times above the estimated rounding or less
        than 10 times below. Otherwise the spectrum runs into rounding, and may go on below it.
    route: how it was computed.
    """

    problem: Problem
    space: Space
    saturated: bool
    margin: float
    clear_rank: bool
    route: str

    def energy(self, vectors: Float64[Tensor, "rows k"]) -> Float64[Tensor, " k"]:
        """‖P V_j‖² of right-hand sides in data space."""
        return self.space.energy(vectors)

    def leverage(self) -> Float64[Tensor, "samples rows_per_sample"]:
        """Leverage scores of the rows of A; they add up to rank A = rank F."""
        n, height = self.problem.num_samples, self.problem.rows_per_sample
        unit = torch.eye(height, dtype=torch.float64, device=self.problem.logits.device)
        return torch.stack(
            [self.space.block_energy(row.expand(n, height).contiguous()) for row in unit], dim=1
        )


def dense_geometry(problem: Problem, *, memory: int | None = None) -> Geometry:
    """The geometry of a problem by factorisations in memory.

    memory: budget in bytes (what is free unless given).
    Raises MemoryError, before anything large is allocated, where the factor does not fit.
    """
    require_dense(problem, memory)
    matrix = differences(problem)
    _check_rows(problem, matrix)
    contrast = problem.likelihood.contrast(problem.logits)
    rounding = estimate_rounding(problem, contrast, matrix)
    matrix[:, rounding.noise] = 0.0
    matrix = _without_zero_columns(matrix)
    scales = equilibrate_(matrix)
    rows, columns = matrix.shape
    error = (rounding.relative + 4 * rows**0.5 * _UNIT) * float(matrix.norm())
    if rows > columns:
        orthonormal, triangle = torch.linalg.qr(matrix)
        basis, size = pivoted_basis(triangle)
        space, clear = _cut(problem, orthonormal @ basis, size, scales, error)
        return Geometry(problem, space, False, 0.0, clear, DENSE)
    triangle = lower_triangle(matrix)
    del matrix
    margin = full_rank_margin(triangle, error)
    if margin > 1:
        return Geometry(problem, WholeSpace(rows), True, margin, True, DENSE)
    space, clear = _cut(problem, *pivoted_basis(triangle), scales, error)
    return Geometry(problem, space, False, margin, clear, DENSE)


def _check_rows(problem: Problem, matrix: Float64[Tensor, "rows params"]) -> None:
    """Refuse derivatives that are not finite; say a word where there are none."""
    if not bool(torch.isfinite(matrix.sum())) and not bool(torch.isfinite(matrix).all()):
        bad = (~torch.isfinite(matrix)).nonzero()
        row, column = bad[0].tolist()
        raise ValueError(
            f"derivatives of the logits must be finite; those of sample "
            f"{row // problem.rows_per_sample} by {_name_of(problem, column)} are not "
            f"({len(bad)} of {matrix.numel()} entries)"
        )
    if not bool(matrix.any()):
        warnings.warn(
            "the logits' differences do not depend on the chosen parameters: every derivative is "
            "0, and so is the IGS",
            RuntimeWarning,
            stacklevel=5,
        )


def _without_zero_columns(matrix: Float64[Tensor, "rows m"]) -> Float64[Tensor, "rows k"]:
    """The same range from fewer columns, where leaving some out is worth a copy."""
    kept = matrix.any(dim=0)
    worth = 0 < int(kept.sum()) < _WORTH_A_COPY * matrix.shape[1]
    return matrix[:, kept] if worth else matrix


def _name_of(problem: Problem, column: int) -> str:
    for name, value in problem.function.parameters.items():
        if column < value.numel():
            return f"{name}[{column}] (flattened)"
        column -= value.numel()
    raise IndexError(column)


def _cut(
    problem: Problem,
    basis: Float64[Tensor, "rows k"],
    size: Float64[Tensor, " k"],
    scales: Float64[Tensor, " rows"],
    error: float,
) -> tuple[Subspace, bool]:
    """Keep the directions of D above the error, and go on from range(D) to range(A).

    Also whether the cut is clear: nothing stands shortly above the error or shortly below.
    """
    rank = int((size > error).sum())
    shortly = (size < _FAR_ABOVE * error) & (size > error / _FAR_BELOW)
    own = apply_root(problem, basis[:, :rank] / scales[:, None])
    weight = apply_root(problem, (1 / scales)[:, None]).abs()[:, 0]
    orthonormal, triangle, pivots = graded_qr(own)
    space = Subspace(orthonormal, triangle, (error / size[:rank])[pivots], weight)
    return space, not bool(shortly.any())
