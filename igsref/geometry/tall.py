"""Tall factors, n > m: the scaled D as it stands, in memory or some samples at a time.

In memory: U from D, then Q from M U, as for wide factors (:mod:`igsref.geometry.wide`).

Streamed, with m² numbers and one block of rows: the triangle of D; from it R, and U = D_Π R⁻¹ row
by row; the triangle of M U; from it T, and M U Π'T⁻¹ row by row; and since that is orthonormal only
as far as T is well conditioned, the triangle of that, until it is near enough to I.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from igsref.curvature.factor import differences, scaled_root
from igsref.curvature.rank_bound import rank_bound
from igsref.geometry.checks import check_rows, warn_of_no_derivative
from igsref.geometry.cut import estimated_row_error, is_clear
from igsref.geometry.geometry import Certificate, Geometry
from igsref.geometry.part import RowBlock, row_blocks, unlabelled_part
from igsref.geometry.verify import (
    estimated_certificate,
    is_verifiable,
    proven_row_error,
    verified_certificate,
)
from igsref.jacobian.rounding import estimate_rounding
from igsref.jacobian.rows import jacobian_rows
from igsref.linalg.equilibrate import (
    Scales,
    equilibrate_,
    equilibrate_rows_,
    power_of_two_scale,
)
from igsref.linalg.orthogonal import append_columns, pivoted_qr
from igsref.linalg.range import Rows, Subspace, apply_blocks, find_range
from igsref.problem import Problem
from igsref.progress import interruptible

_NOTHING_YET = "no value yet"
_MOST_REPETITIONS = 4
_NEARLY = 0.1
_FEWEST = 8
"""Samples in a block: enough to tell noise from a derivative that is small somewhere."""


def tall_geometry(problem: Problem, route: str) -> Geometry:
    """The geometry of a problem with n > m, D in memory."""
    matrix = differences(problem)
    check_rows(problem, matrix, 0)
    warn_of_no_derivative(matrix)
    contrast = problem.likelihood.contrast(problem.logits)
    rounding = estimate_rounding(problem, contrast, matrix)
    matrix[:, rounding.noise] = 0.0
    scales = equilibrate_(matrix)
    error = estimated_row_error(rounding.relative, matrix)
    space, sizes = find_range(matrix, scaled_root(problem, scales.rows), float(error.norm()))
    kept = Scales(scales.rows, torch.where(rounding.noise, 0.0, scales.columns))
    return _geometry(problem, space, sizes, error, kept, route)


def streamed_tall_geometry(problem: Problem, rows_at_once: int, route: str) -> Geometry:
    """The same from blocks of at most so many rows (but at least 8 samples), in four passes."""
    source = _Source(problem, max(_FEWEST, rows_at_once // problem.rows_per_sample))
    columns, relative = source.scales()
    triangle, row_scales, norms = source.triangle(columns)
    warn_of_no_derivative(triangle)
    error = estimated_row_error(relative, norms[:, None])
    _, triangle, pivots = pivoted_qr(triangle)
    sizes = triangle.diagonal().abs()
    rank = int((sizes > float(error.norm())).sum())
    inner = _Inner(source, Scales(row_scales, columns), pivots[:rank], triangle[:rank, :rank])
    space = inner.orthonormal()
    return _geometry(problem, space, sizes, error, inner.scales, route)


def _geometry(
    problem: Problem,
    space: Subspace,
    sizes: Tensor,
    error: Float64[Tensor, " rows"],
    scales: Scales,
    route: str,
) -> Geometry:
    clear = is_clear(sizes, float(error.norm()))
    certify: Callable[[], Certificate] = partial(estimated_certificate, problem, space, error)
    if is_verifiable(problem):
        certify = partial(_verified, problem, space, scales)
    return Geometry(problem, space, False, 0.0, clear, route, rank_bound(problem), certify)


def _verified(problem: Problem, space: Subspace, scales: Scales) -> Certificate:
    return verified_certificate(problem, space, proven_row_error(problem, scales))


@dataclass(frozen=True, eq=False)
class _Source:
    """Rows of D, some samples at a time."""

    problem: Problem
    samples_at_once: int

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return -(-self.problem.pool_size // self.samples_at_once)

    def blocks(self) -> Iterator[RowBlock]:
        """Samples as a problem of their own, their contrast and rows of D."""
        return row_blocks(self.problem, self.samples_at_once)

    def scales(self) -> tuple[Float64[Tensor, " params"], float]:
        """Powers of two that bring columns to norm 1, 0 for noise; what rows are known to."""
        m = self.problem.num_parameters
        unit = self.problem.logits.new_ones(m)
        scale, square = unit, 0 * unit
        silent, empty = unit > 0, unit > 0
        with interruptible("blocks of samples, scales", self.count, _NOTHING_YET) as shown:
            for part, contrast, block in shown(self.blocks()):
                check_rows(part, block, 0)
                own = estimate_rounding(part, contrast, block)
                zero = ~block.any(dim=0)
                silent, empty = silent & (own.noise | zero), empty & zero
                peak = torch.linalg.vector_norm(block, ord=torch.inf, dim=0)
                # In one power of two for all blocks so far, squares neither overflow nor vanish.
                both = power_of_two_scale(
                    torch.maximum(peak, torch.where(square > 0, 0.5 / scale, 0))
                )
                square = square * (both / scale).square() + (block * both).square().sum(dim=0)
                scale = both
        scale = scale * power_of_two_scale(square.sqrt())
        return torch.where(silent & ~empty, 0.0, scale), self._relative()

    def _relative(self) -> float:
        """What rows are known to, from samples spread over all blocks."""
        size = self.problem.pool_size
        spread = torch.linspace(0, size - 1, min(size, _FEWEST)).long().unique()
        part = unlabelled_part(self.problem, spread.to(self.problem.logits.device))
        contrast = part.likelihood.contrast(part.logits)
        return estimate_rounding(part, contrast, jacobian_rows(part, contrast)).relative

    def scaled(
        self, columns: Float64[Tensor, " params"]
    ) -> Iterator[tuple[Tensor, Float64[Tensor, "rows params"]]]:
        """Row scales s, and rows of the scaled D."""
        for _, _, block in self.blocks():
            block *= columns
            yield equilibrate_rows_(block), block

    def triangle(
        self, columns: Float64[Tensor, " params"]
    ) -> tuple[Float64[Tensor, "params params"], Tensor, Tensor]:
        """R of the scaled D, its row scales, and the norms of its rows."""
        triangle, scales, norms = None, [], []
        with interruptible("blocks of samples, triangle", self.count, _NOTHING_YET) as shown:
            for scale, block in shown(self.scaled(columns)):
                triangle = append_columns(triangle, block.mT)
                scales.append(scale)
                norms.append(block.norm(dim=1))
        assert triangle is not None
        return triangle.mT, torch.cat(scales), torch.cat(norms)


@dataclass(frozen=True, eq=False)
class _Inner:
    """U = K_Π R⁻¹ row by row, K the scaled D."""

    source: _Source
    scales: Scales
    pivots: Int64[Tensor, " r"]
    outer: Float64[Tensor, "r r"]

    def rows(self, solves: list[Callable[[Tensor], Tensor]]) -> Iterator[Rows]:
        """Rows of K_Π, U, M, and of M U after some solves from the right."""
        problem, first = self.source.problem, 0
        for scale, block in self.source.scaled(self.scales.columns):
            blocks = scaled_root(problem, scale, first)
            chosen = block[:, self.pivots]
            inner = torch.linalg.solve_triangular(self.outer, chosen, upper=True, left=False)
            basis = apply_blocks(blocks, inner)
            for solve in solves:
                basis = solve(basis)
            yield Rows(first, chosen, inner, basis, blocks)
            first += len(blocks)

    def shown_rows(self, solves: list[Callable[[Tensor], Tensor]]) -> Iterator[Rows]:
        """The same, once the range is known."""
        what = "blocks of samples, projection"
        with interruptible(what, self.source.count, "the range is known") as shown:
            yield from shown(self.rows(solves))

    def orthonormal(self) -> Subspace:
        """range(M U): T from the triangle of M U, then that of M U Π'T⁻¹."""
        if len(self.outer) == 0:
            return Subspace(self.outer, self.outer, self.pivots, lambda: self.rows([]))
        _, first, order = pivoted_qr(self._triangle([], "blocks of samples, range"))
        solves: list[Callable[[Tensor], Tensor]]
        solves = [lambda basis: _solved_right(first, basis[:, order])]
        triangle = first
        for _ in range(_MOST_REPETITIONS):
            again = self._triangle(solves, "blocks of samples, orthonormal")
            solves.append(partial(_solved_right, again))
            triangle = again @ triangle
            if _is_nearly_orthogonal(again):
                return Subspace(
                    self.outer,
                    triangle,
                    order,
                    lambda: self.shown_rows(solves),
                )
        raise ArithmeticError(
            "a stream of samples finds no orthonormal basis of this factor, whose rows differ too "
            "much in size; give a memory= that holds all of it"
        )

    def _triangle(self, solves: list[Callable[[Tensor], Tensor]], what: str) -> Tensor:
        triangle = None
        with interruptible(what, self.source.count, _NOTHING_YET) as shown:
            for rows in shown(self.rows(solves)):
                triangle = append_columns(triangle, rows.basis.mT)
        assert triangle is not None
        return triangle.mT


def _is_nearly_orthogonal(triangle: Tensor) -> bool:
    """Whether one solve with the triangle of a basis leaves it orthonormal to rounding."""
    size = triangle.diagonal().abs()
    off = (triangle - torch.diag(triangle.diagonal())).norm()
    return bool((size.min() >= _NEARLY) & (size.max() <= 1 / _NEARLY) & (off <= 1))


def _solved_right(triangle: Tensor, matrix: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(triangle, matrix, upper=True, left=False)
