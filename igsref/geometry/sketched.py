"""A right preconditioner for tall factors: the triangle of a random sketch of A.

Trained networks with more rows than parameters are hard for EKFAC. There T = C R⁻¹, with C a
scaling of the columns by powers of two and RᵀR = (S A C)ᵀ(S A C) + δ²I for a sparse sketch S A of
twice as many rows as parameters, brings the singular values of A T near 1. F is singular (ReLU
networks have directions that change nothing) and so is S A: δ is where its triangle is cut.
Directions of A C far below δ keep small singular values in A T and are found late, if at all;
no bound rests on T.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from igsref.geometry.checks import check_rows, warn_of_no_derivative
from igsref.geometry.part import row_blocks
from igsref.geometry.plan import SKETCH_HEIGHT, sketched_bytes
from igsref.geometry.preconditioner import dense_row_grams
from igsref.jacobian.rounding import estimate_rounding
from igsref.jacobian.rows import chunk_size
from igsref.linalg.equilibrate import equilibrate_columns_
from igsref.linalg.products import random_signs, seeded
from igsref.linalg.sketch import damped_triangle, sparse_sketch
from igsref.memory import FLOAT64_BYTES, require_memory
from igsref.problem import Problem
from igsref.progress import interruptible

_PROBES = 16


def relative_cut(dtype: torch.dtype) -> float:
    """δ beside ‖S A C‖_F: √u of what derivatives are taken in.

    Solutions lean on directions of that size by 1/δ at most, so that the rounding of A X,
    u ‖A C‖‖C⁻¹X‖, stays near √u of the right-hand side.
    """
    return (torch.finfo(dtype).eps / 2) ** 0.5


@dataclass(frozen=True, eq=False)
class SketchedPreconditioner:
    """T = C R⁻¹.

    columns: the diagonal of C. triangle: R, upper. height: rows of the sketch.
    cut: δ/‖S A C‖_F. above: an estimate of how many directions of S A C are above it,
    Σ σ²/(σ² + δ²).
    """

    columns: Float64[Tensor, " params"]
    triangle: Float64[Tensor, "params params"]
    height: int
    cut: float
    above: float

    @property
    def amplification(self) -> float:
        """1/δ: of directions far below the cut."""
        return 1 / self.cut

    def apply(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """T X."""
        solved = torch.linalg.solve_triangular(self.triangle, vectors, upper=True)
        return self.columns[:, None] * solved

    def transposed(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """Tᵀ X."""
        scaled = self.columns[:, None] * vectors
        return torch.linalg.solve_triangular(self.triangle.mT, scaled, upper=False)

    def row_grams(
        self, problem: Problem, samples: Int64[Tensor, " samples"]
    ) -> Float64[Tensor, "samples height height"]:
        """A_i T Tᵀ A_iᵀ."""
        return dense_row_grams(problem, self, samples)

    def __str__(self) -> str:
        return (
            f"sketch of {self.height} rows, cut at {self.cut:.1e} of its norm: about "
            f"{self.above:.0f} of {len(self.columns)} directions above"
        )


def sketched_preconditioner(
    problem: Problem, seed: int, memory: int, dtype: torch.dtype = torch.float64
) -> SketchedPreconditioner:
    """T of a problem's reduced factor A, by a sparse sketch under a seed, from one pass over rows.

    dtype: of derivatives in the steps that T is for; rows and sketch are float64.

    Raises MemoryError, with the sizes, where 2m rows and their QR do not fit ``memory`` bytes;
    KeyboardInterrupt that says how far the pass came.
    """
    rows, m = problem.num_rows, problem.num_parameters
    require_memory(
        sketched_bytes(m),
        memory,
        f"a sketch of {SKETCH_HEIGHT * m} rows × {m} parameters and its triangle",
        "take preconditioner='ekfac'",
    )
    made = sparse_sketch(rows, SKETCH_HEIGHT * m, seed)
    sketch = problem.logits.new_zeros(made.height, m)
    first, noise = 0, sketch.new_ones(m) > 0
    for block, silent in _root_rows(problem):
        made.add_(sketch, block, first)
        first += len(block)
        noise &= silent
    warn_of_no_derivative(sketch)
    # What is nothing but rounding must not be scaled up to a direction.
    sketch[:, noise] = 0.0
    columns = torch.where(noise, 0.0, equilibrate_columns_(sketch))
    cut = relative_cut(dtype)
    damping = cut * float(sketch.norm()) or 1.0  # where A = 0 any R does
    triangle = damped_triangle(sketch, damping)
    above = _above(triangle, damping)
    return SketchedPreconditioner(columns, triangle, made.height, cut, above)


def _root_rows(problem: Problem) -> Iterator[tuple[Float64[Tensor, "rows params"], Tensor]]:
    """Rows of A, some samples at a time, and which columns hold no digit there."""
    height, m = problem.rows_per_sample, problem.num_parameters
    size = chunk_size(2 * FLOAT64_BYTES * height * m)
    count = -(-problem.pool_size // size)
    with interruptible("blocks of samples, sketch", count, "no step was made") as shown:
        for part, contrast, rows in shown(row_blocks(problem, size)):
            check_rows(part, rows, 0)
            silent = estimate_rounding(part, contrast, rows).noise | ~rows.any(dim=0)
            root = part.likelihood.root(part.logits)
            yield (root @ rows.view(-1, height, m)).flatten(0, 1), silent


def _above(triangle: Float64[Tensor, "m m"], damping: float) -> float:
    """m − δ²‖R⁻¹‖_F² = Σ σ²/(σ² + δ²), by random signs: E‖R⁻ᵀz‖² = ‖R⁻¹‖_F²."""
    m = len(triangle)
    signs = random_signs(seeded(0), m, _PROBES).to(triangle)
    solved = damping * torch.linalg.solve_triangular(triangle.mT, signs, upper=False)
    return max(0.0, m - float(solved.square().sum()) / _PROBES)
