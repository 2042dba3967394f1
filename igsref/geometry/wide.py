"""Wide factors, n ≤ m: the triangle of D, a range of columns at a time, then a square problem.

1. D, the class differences of the Jacobian, without its noise columns, rows and columns scaled
   by powers of two. Nothing of p is in it yet, and its rank is the rank of F.
2. L of D = L Wᵀ. If σ_min exceeds the error bound, range(A) = R^n: saturated.
3. Otherwise a basis U of range(L) by pivoted QR, cut where the columns are rounding.
4. range(A) = range(blockdiag(Lᵀ) S⁻¹ U), S the row scales: QR with sorted rows and pivoted
   columns, which keeps the digits of small rows beside large ones.

With all columns in one range this is the dense route; with more it holds n² numbers and one range.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.factor import scaled_root
from igsref.curvature.rank_bound import rank_bound
from igsref.geometry.checks import check_rows, warn_of_no_derivative
from igsref.geometry.cut import estimated_row_error, is_clear
from igsref.geometry.geometry import Geometry
from igsref.geometry.verify import (
    Ranges,
    estimated_certificate,
    is_verifiable,
    verified_wide,
)
from igsref.jacobian.columns import restricted
from igsref.jacobian.rounding import Rounding, estimate_rounding
from igsref.jacobian.rows import jacobian_rows
from igsref.linalg.equilibrate import (
    Scales,
    equilibrate_,
    equilibrate_columns_,
    equilibrate_rows_,
)
from igsref.linalg.orthogonal import append_columns, full_rank_margin
from igsref.linalg.range import Space, Subspace, WholeSpace, find_range
from igsref.problem import Problem
from igsref.progress import interruptible

_WORTH_A_COPY = 0.9


def wide_geometry(problem: Problem, ranges: Ranges, route: str) -> Geometry:
    """The geometry of a problem with n ≤ m, its columns in the given ranges."""
    pass_ = _first_pass(problem, ranges)
    triangle, scales = pass_.triangle, pass_.scales
    error = estimated_row_error(pass_.rounding.relative, triangle)
    cut = float(error.norm())
    margin = full_rank_margin(triangle, cut)
    found: Subspace | None = None
    clear = True
    if margin <= 1:
        found, sizes = find_range(triangle, scaled_root(problem, scales.rows), cut)
        clear = is_clear(sizes, cut)
    space: Space = WholeSpace(len(triangle)) if found is None else found
    certify = partial(estimated_certificate, problem, found, error)
    if is_verifiable(problem):
        certify = partial(verified_wide, problem, ranges, scales, triangle, found, cut)
    return Geometry(problem, space, margin > 1, margin, clear, route, rank_bound(problem), certify)


@dataclass(frozen=True, eq=False)
class _Pass:
    triangle: Float64[Tensor, "rows rows"]
    scales: Scales
    rounding: Rounding


def _first_pass(problem: Problem, ranges: Ranges) -> _Pass:
    """L of the scaled D, its scales (0 for columns of noise), and what its rows are known to."""
    contrast = problem.likelihood.contrast(problem.logits)
    largest = _largest_entries(problem, contrast, ranges) if len(ranges) > 1 else None
    triangle = rounding = None
    rows, columns = contrast.new_ones(problem.num_rows), []
    with interruptible("blocks of columns", len(ranges), "no value yet") as blocks:
        for start, stop in blocks(ranges):
            part, chosen = restricted(problem, start, stop)
            block = jacobian_rows(part, contrast, columns=chosen)
            check_rows(problem, block, start)
            own = estimate_rounding(part, contrast, block, columns=chosen, largest=largest)
            block[:, own.noise] = 0.0
            whole = len(ranges) == 1
            scales = equilibrate_(block) if whole else Scales(rows, equilibrate_columns_(block))
            block = _without_zero_columns(block)  # the whole of it may go
            triangle = append_columns(triangle, block)
            del block  # before the next one comes
            rounding = own if rounding is None else rounding.beside(own)
            rows = scales.rows
            columns.append(torch.where(own.noise, 0.0, scales.columns))
    assert triangle is not None and rounding is not None
    warn_of_no_derivative(triangle)
    step = equilibrate_rows_(triangle)
    return _Pass(triangle, Scales(rows * step, torch.cat(columns)), rounding)


def _largest_entries(
    problem: Problem, contrast: Tensor, ranges: Ranges
) -> Callable[[Tensor], Tensor]:
    """Tells the largest entry of each row of some samples; each sample is looked at once."""
    known = contrast.new_zeros(contrast.shape[:2])
    seen = torch.zeros(len(contrast), dtype=torch.bool)

    def largest(chosen: Tensor) -> Tensor:
        fresh = chosen[~seen[chosen]]
        for start, stop in ranges if len(fresh) else ():
            part, columns = restricted(problem, start, stop)
            rows = jacobian_rows(part, contrast, samples=fresh, columns=columns)
            peak = rows.abs().amax(dim=1).view(len(fresh), -1)
            known[fresh] = torch.maximum(known[fresh], peak)
        seen[fresh] = True
        return known[chosen].flatten()

    return largest


def _without_zero_columns(matrix: Float64[Tensor, "rows m"]) -> Float64[Tensor, "rows k"]:
    """The same range from fewer columns, where leaving some out is worth a copy."""
    kept = matrix.any(dim=0)
    worth = 0 < int(kept.sum()) < _WORTH_A_COPY * matrix.shape[1]
    return matrix[:, kept] if worth else matrix
