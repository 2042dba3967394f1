"""Proofs of positive definiteness and of full row rank, in floating point.

A Cholesky factorisation that runs to its end shows that a matrix is positive definite, up to its
rounding (Rump, "Verification of positive definiteness", 2006): A − cI ≈ L Lᵀ gives
λ_min(A) ≥ c − ‖Δ‖, Δ = L Lᵀ − (A − cI). Rump bounds Δ by what theory says of the factorisation.
Here it is measured: L Lᵀ is positive semidefinite for *any* floats L, so that nothing need be known
of LAPACK, and a product of triangles is all that has to be trusted. docs/compressed.md has every
rounding.
"""

from dataclasses import dataclass

import scipy.linalg
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from igsref.linalg.orthogonal import invert_triangle
from igsref.linalg.rounding import UNIT, gamma, measured_product, product_rounding

_SHIFTS = (0.9, 0.5, 0.1, 0.0)
"""Shares of the estimated λ_min: the first whose Cholesky runs to its end and is close enough."""
_ITERATIONS = 20
_PANEL = 512
_RESOLUTION = 64
"""How many rows are independent is found to a share of 1/64."""
_VANISHED = 2.0**-535
"""More than the root of what one entry's square can lose by underflow."""


def smallest_eigenvalue(matrix: Float[Tensor, "n n"]) -> float:
    """A proven lower bound on λ_min of a symmetric matrix, these very floats.

    matrix: float64 or float32; its lower triangle counts. Bounds are taken in float64.
    −∞ where Cholesky does not run to its end, ∞ for a matrix of no rows.
    """
    if len(matrix) == 0:
        return float("inf")
    factor = _cholesky(matrix, 0.0)
    if factor is None:
        return float("-inf")
    estimate = _estimated_smallest(factor)
    best = float("-inf")
    for share in _SHIFTS:
        shifted = factor if share == 0 else _cholesky(matrix, share * estimate)
        if shifted is None:
            continue
        gap = share * estimate - cholesky_distance(matrix, shifted, share * estimate)
        best = max(best, gap - 2 * UNIT * abs(gap))
        if best > 0:
            break
    return best


def cholesky_distance(
    matrix: Float[Tensor, "n n"], factor: Float[Tensor, "n n"], shift: float
) -> float:
    """A bound on ‖L Lᵀ − (A − shift·I)‖₂, shift ≥ 0, for any lower triangle L of floats.

    Measured in float64, a panel of rows at a time: n² numbers are never copied.
    """
    n = len(matrix)
    off = square = size = 0.0
    for start in range(0, n, _PANEL):
        rows = factor[start : start + _PANEL].double()
        stop = start + len(rows)
        product = measured_product(rows[:, :stop], factor[:stop, :stop].double().mT)
        product -= matrix[start:stop, :stop].double()
        product[:, start:].diagonal().add_(shift)
        product.tril_(diagonal=start)
        # Of a symmetric matrix: its strict lower triangle twice, its diagonal once.
        square += float(product.square().sum())
        product[:, start:].diagonal().zero_()
        off += float(product.square().sum())
        size += float(rows[:, :stop].square().sum())
    residual = (square + off) ** 0.5
    rounding = product_rounding(n) * size + UNIT * shift + n * _VANISHED
    return (residual + rounding) * (1 + gamma(8 * n**2 + 16))


def gram_matrix(
    rows: Float64[Tensor, "n k"],
) -> tuple[Float64[Tensor, "n n"], Float64[Tensor, " n"]]:
    """G ≈ X Xᵀ, symmetric, and d with |G − X Xᵀ|_ij ≤ d_i d_j; half of the products are made."""
    n, k = rows.shape
    gram = rows.new_empty(n, n)
    for start in range(0, n, _PANEL):
        stop = min(n, start + _PANEL)
        gram[start:stop, :stop] = measured_product(rows[start:stop], rows[:stop].mT)
        gram[:start, start:stop] = gram[start:stop, :start].mT
        corner = gram[start:stop, start:stop]  # BLAS may round its two halves differently
        corner.copy_(corner.tril() + corner.tril(-1).mT)
    rounding = product_rounding(k) ** 0.5 * rows.norm(dim=1) * (1 + gamma(8 * k + 16))
    return gram, rounding + (1 + k**0.5) * _VANISHED


@dataclass(frozen=True, eq=False)
class IndependentRows:
    """Rows of X + E that are linearly independent for every E with ‖E_j‖ ≤ e_j.

    rows: which. σ_min of these rows of X ≥ smallest, and > error ≥ ‖E‖_F of them; no rows: ∞ and 0.
    """

    rows: Int64[Tensor, " k"]
    smallest: float
    error: float

    @property
    def proven(self) -> bool:
        """Whether the one exceeds the other."""
        return self.smallest > self.error


def independent_rows(
    gram: Float64[Tensor, "n n"],
    rounding: Float64[Tensor, " n"],
    row_error: Float64[Tensor, " n"],
) -> IndependentRows:
    """All rows of X + E, if they are shown to be independent, or as many as are found to be.

    gram, rounding: G and d, |G − X Xᵀ|_ij ≤ d_i d_j. row_error: e. Rows of X should be of one size.
    Where not all are: those that lead in a diagonally pivoted order.
    """
    n = len(gram)
    whole = _judged(gram, rounding, row_error, torch.arange(n, device=gram.device))
    if whole.proven:
        return whole
    # A row that its error may cancel is independent of nothing.
    candidates = (row_error < gram.diagonal().clamp(min=0).sqrt()).nonzero()[:, 0]
    order, promising, most = _pivoted(gram, rounding, row_error, candidates)
    best, count = _judged(gram, rounding, row_error, order[:0]), promising
    while most - len(best.rows) > most // _RESOLUTION:
        count = min(max(count, len(best.rows) + 1), most)
        found = _judged(gram, rounding, row_error, order[:count])
        if found.proven:
            best = found
        else:
            most = count - 1
        count = (len(best.rows) + most + 1) // 2
    return best


def _judged(gram: Tensor, rounding: Tensor, row_error: Tensor, rows: Tensor) -> IndependentRows:
    """What the smallest eigenvalue of some rows' Gram matrix shows."""
    everything = len(rows) == len(gram)
    part = gram if everything else gram[rows[:, None], rows]
    grown = 1 + gamma(8 * len(rows) + 16)
    least = smallest_eigenvalue(part) - float(rounding[rows].square().sum()) * grown
    smallest = max(0.0, least) ** 0.5 * (1 - 8 * UNIT)
    error = float(row_error[rows].square().sum()) ** 0.5 * grown + len(rows) * _VANISHED
    return IndependentRows(rows, smallest, error if len(rows) else 0.0)


def _pivoted(
    gram: Tensor, rounding: Tensor, row_error: Tensor, candidates: Tensor
) -> tuple[Int64[Tensor, " k"], int, int]:
    """Candidates in a diagonally pivoted order; how many of the first may be independent.

    Two numbers, since 1/‖L_k⁻¹‖_F ≤ σ_min ≤ the least pivot of the first k rows, as good as L is:
    so many that they should be, and so many that more can hardly be.
    """
    if len(candidates) == 0:
        return candidates, 0, 0
    part = gram[candidates[:, None], candidates]
    factor, pivots, rank, _ = scipy.linalg.lapack.dpstrf(part.cpu().numpy(), lower=1)
    order = candidates[torch.from_numpy(pivots - 1).long().to(candidates.device)][:rank]
    triangle = torch.from_numpy(factor).to(gram)[:rank, :rank].tril()
    inverse = invert_triangle(triangle, upper=False)
    least = 1 / inverse.square().sum(dim=1).cumsum(dim=0)
    pivot = triangle.diagonal().square().cummin(dim=0).values
    known = (rounding[order].square() + row_error[order].square()).cumsum(dim=0)
    return order, int((least > known).sum()), int((pivot > known).sum())


def _cholesky(matrix: Tensor, shift: float) -> Tensor | None:
    """A lower triangle for A − shift·I; None where a pivot is not positive."""
    shifted = matrix.clone()
    shifted.diagonal().sub_(shift)
    factor, info = torch.linalg.cholesky_ex(shifted)
    broken = int(info) != 0 or not bool(torch.isfinite(factor.diagonal()).all())
    return None if broken else factor


def _estimated_smallest(factor: Tensor) -> float:
    """About λ_min of L Lᵀ, and not below it but for rounding: inverse iteration."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(factor), 1, generator=generator, dtype=torch.float64).to(factor)
    quotient = torch.zeros(())
    for _ in range(_ITERATIONS):
        x = x / x.norm()
        y = torch.cholesky_solve(x, factor)
        quotient = (x * y).sum()
        x = y
    return 1 / float(quotient) if float(quotient) > 0 else 0.0
