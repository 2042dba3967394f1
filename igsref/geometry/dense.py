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
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.factor import differences
from igsref.curvature.rank_bound import RankBound, rank_bound
from igsref.enclosure import Grade
from igsref.geometry.plan import DENSE, require_dense
from igsref.jacobian.rounding import estimate_logit_error, estimate_rounding
from igsref.linalg.assess import Assessment, assess
from igsref.linalg.bracket import Bracket, Vectors, bracket, whole
from igsref.linalg.equilibrate import equilibrate_
from igsref.linalg.orthogonal import full_rank_margin, lower_triangle
from igsref.linalg.range import Space, Subspace, WholeSpace, find_range
from igsref.linalg.rounding import UNIT
from igsref.problem import Problem

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
    row_error: of the scaled D, e_j ‖x‖ for a product of row j with x.
    rank_upper: F has at most this rank, and why. logit_error: bounds, (N, C).
    grade: whether row_error and logit_error are proven or estimated.
    """

    problem: Problem
    space: Space
    saturated: bool
    margin: float
    clear_rank: bool
    route: str
    row_error: Float64[Tensor, " rows"]
    rank_upper: RankBound
    logit_error: Float64[Tensor, "samples classes"]
    grade: Grade

    def energy(self, vectors: Float64[Tensor, "rows k"]) -> Float64[Tensor, " k"]:
        """‖P V_j‖² of right-hand sides in data space."""
        return self.space.energy(vectors)

    def bracket(self, vectors: Vectors) -> Bracket:
        """lower ≤ ‖P V‖_F² ≤ upper for the columns of V, of exact factors and these floats."""
        if self.saturated:
            return whole(vectors)
        if self.assessment is None:
            return Bracket(0.0, whole(vectors).upper if self.rank_upper.value else 0.0, 0.0)
        return bracket(self.assessment, vectors, self.rank_upper.value)

    @cached_property
    def assessment(self) -> Assessment | None:
        """How far the space is known; None where there is nothing to know."""
        if not isinstance(self.space, Subspace) or self.space.dimension == 0:
            return None
        return assess(self.space, self.row_error)

    @property
    def rank_lower(self) -> int:
        """F has at least this rank."""
        if self.assessment is None:
            return self.space.dimension
        return self.assessment.rank

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
    if rows <= columns:
        matrix = lower_triangle(matrix)
    row_error = _row_error(rounding.relative, matrix)
    cut = float(row_error.norm())
    margin = full_rank_margin(matrix, cut) if rows <= columns else 0.0
    space: Space = WholeSpace(rows)
    clear = True
    if margin <= 1:
        root = problem.likelihood.root(problem.logits)
        space, sizes = find_range(matrix, root / scales.view(len(root), 1, -1), cut)
        clear = _is_clear(sizes, cut)
    return Geometry(
        problem,
        space,
        saturated=margin > 1,
        margin=margin,
        clear_rank=clear,
        route=DENSE,
        row_error=row_error,
        rank_upper=rank_bound(problem),
        logit_error=estimate_logit_error(problem),
        grade="estimated",
    )


def _row_error(relative: float, matrix: Float64[Tensor, "rows k"]) -> Float64[Tensor, " rows"]:
    """Of rows known to a relative error, after a QR: its 4√n u is generous, not proven."""
    return (relative + 4 * len(matrix) ** 0.5 * UNIT) * matrix.norm(dim=1)


def _is_clear(sizes: Float64[Tensor, " p"], cut: float) -> bool:
    """Nothing stands shortly above the error or shortly below."""
    return not bool(((sizes < _FAR_ABOVE * cut) & (sizes > cut / _FAR_BELOW)).any())


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
