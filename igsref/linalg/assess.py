"""How far a basis may be off: bounds on everything that separates it from the exact range.

Only the exact matrix has a range; the floats that stand for it propose. What they propose is
measured here: products with a priori rounding bounds, never the residuals that theory promises.
docs/bracket.md has the derivation.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.linalg.orthogonal import invert_triangle
from igsref.linalg.range import Rows, Subspace, apply_blocks
from igsref.linalg.rounding import Gram, gamma, measured_product, product_rounding


@dataclass(frozen=True, eq=False)
class Assessment:
    """What is known of the range of M (K + E) from a subspace, |E_j x| ≤ e_j ‖x‖ for every x.

    Exactly, with A = M (K + E)_Π and R, Π' of the subspace: B = A R⁻¹ Π' W has its columns in the
    range, W the inverse of its triangle T *as computed* (any regular upper triangle would do);
    Q stands for B.

    solving: g, (r,): R x = b counts as solved where |R x − b| ≤ g ‖x‖, row by row.
    weight: w, (n,): |A x − (computed M K_Π) x|_j + |A R⁻¹ s|_j ≤ w_j ‖x‖ for every x and every
        |s| ≤ g ‖x‖, the rounding of the product in it.
    preimage: h, (r,), and drift: d, (n,): |B − Q|_jc ≤ d_j h_c. skew: ω ≥ ‖QᵀQ − I‖_F.
    rank: the exact matrix has at least this rank.
    """

    space: Subspace
    solving: Float64[Tensor, " r"]
    weight: Float64[Tensor, " n"]
    preimage: Float64[Tensor, " r"]
    drift: Float64[Tensor, " n"]
    skew: float
    rank: int

    def deviation(self) -> Float64[Tensor, " r"]:
        """δ_k ≥ ‖(B − Q)_{≤k}‖_F, rising."""
        grown = 1 + gamma(8 * (len(self.drift) + len(self.preimage)))
        return self.drift.norm() * self.preimage.square().cumsum(dim=0).sqrt() * grown


def assess(space: Subspace, row_error: Float64[Tensor, " n"]) -> Assessment:
    """Measure a subspace of dimension ≥ 1, given the errors of the rows of K, in one pass.

    row_error: e, (n,).
    """
    inverse = invert_triangle(space.outer, upper=True)
    solved, solving = _solved(space.outer, inverse), _solving(space.outer)
    x, preimage = solve(space, solving, torch.eye(space.dimension).to(inverse))
    inner, outer = Gram(space.dimension, inverse), Gram(space.dimension, inverse)
    missed, error_square = torch.zeros_like(preimage), 0.0
    weights, drifts = [], []
    for rows in space.parts():
        gap, error, leak = _inner_gap(rows, row_error[rows.span], inverse, solved)
        missed, error_square = missed + gap, error_square + float(error.square().sum())
        weight = _weight(rows, row_error[rows.span] + leak)
        weights.append(weight)
        drifts.append(_drift(rows, weight, x, preimage))
        inner.add(rows.inner)
        outer.add(rows.basis)
    each = missed.sqrt() + error_square**0.5 * inverse.norm(dim=0)
    deviation = each.square().cumsum(dim=0).sqrt() * (1 + gamma(8 * len(row_error)))
    rank = int((smallest_stretch(inner.skew(), deviation) > 0).sum())
    return Assessment(
        space, solving, torch.cat(weights), preimage, torch.cat(drifts), outer.skew(), rank
    )


def is_nonsingular(
    matrix: Float64[Tensor, "n n"],
    row_error: Float64[Tensor, " n"],
    inverse: Float64[Tensor, "n n"],
) -> bool:
    """Whether every K + E, |E_j x| ≤ e_j ‖x‖, is shown to be regular: ‖I − Y (K + E)‖ < 1.

    ‖I − Y K‖_F is measured for Y ≈ K⁻¹, and ‖Y E‖ ≤ ‖|Y| e‖.
    """
    product = measured_product(inverse, matrix)
    product.diagonal().sub_(1.0)
    rounding = product_rounding(len(matrix)) * (inverse.norm(dim=1) * matrix.norm()).norm()
    size = product.norm() + rounding + (inverse.abs() @ row_error).norm()
    return bool(size * (1 + gamma(8 * len(matrix) ** 2)) < 1)


def solve(
    space: Subspace, solving: Float64[Tensor, " r"], right: Float64[Tensor, "k q"]
) -> tuple[Float64[Tensor, "r q"], Float64[Tensor, " q"]]:
    """x with R x ≈ Π'_k T_k⁻¹ right, and h ≥ ‖x‖ with |R x − …| ≤ g h, column by column."""
    k = len(right)
    target = right.new_zeros(space.dimension, right.shape[1])
    inside = torch.linalg.solve_triangular(space.triangle[:k, :k], right, upper=True)
    target[space.pivots[:k]] = inside
    x = torch.linalg.solve_triangular(space.outer, target, upper=True)
    # Half of g is for the rounding of this product, the other for what it shows.
    residual = (measured_product(space.outer, x) - target).abs() / solving[:, None]
    return x, torch.maximum(x.norm(dim=0), 2 * residual.amax(dim=0))


def smallest_stretch(skew: float, deviation: Tensor) -> Tensor:
    """σ_min(Q + Z) ≥ √(1 − ω) − ‖Z‖ for ‖QᵀQ − I‖ ≤ ω; not positive where nothing is known."""
    return max(0.0, 1 - skew) ** 0.5 - deviation


def _inner_gap(
    rows: Rows, row_error: Tensor, inverse: Tensor, solved: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What these rows add to Z = (K + E)_Π X − U, X ≈ R⁻¹, |Z|_jc ≤ gap_jc + error_j ‖X_c‖.

    Squared norms of gap's columns; error; and l: |(K + E)_Π R⁻¹ s|_j ≤ l_j ‖x‖ for |s| ≤ g ‖x‖.
    Where the first k columns of Z together are shorter than σ_min(U), (K + E)_Π X has rank k.
    """
    error = row_error + product_rounding(len(inverse)) * rows.chosen.norm(dim=1)
    gap = (measured_product(rows.chosen, inverse) - rows.inner).abs()
    leak = (rows.inner.abs() + gap) @ solved + error * (inverse.norm(dim=0) @ solved)
    return gap.square().sum(dim=0), error, leak


def _drift(rows: Rows, weight: Tensor, x: Tensor, preimage: Tensor) -> Float64[Tensor, " rows"]:
    """d: what is measured of A X − Q, and w."""
    gap = (measured_product(rows.columns, x) - rows.basis).abs()
    return weight + (gap / preimage).amax(dim=1) * (1 + gamma(8))


def _solved(outer: Tensor, inverse: Tensor) -> Float64[Tensor, " r"]:
    """t with |(I − S)⁻¹ s| ≤ t ‖x‖ for all |s| ≤ g ‖x‖, S = I − R X; so R⁻¹ s = X (I − S)⁻¹ s.

    S grows with the condition number, S̃ = diag(d)⁻¹ S diag(d) does not, d the diagonal of R. By
    (I − S)⁻¹ = I + diag(d) S̃ (I − S̃)⁻¹ diag(d)⁻¹: t = g + d ‖S̃‖ ‖g/d‖ / (1 − ‖S̃‖).
    """
    size, allowed = outer.diagonal().abs(), _solving(outer)
    product = measured_product(outer, inverse)
    product.diagonal().sub_(1.0)
    rounding = product_rounding(len(outer)) * float(
        (outer / size[:, None]).norm() * (inverse * size).norm()
    )
    scaled = float((product * size / size[:, None]).norm()) + rounding
    scaled *= 1 + gamma(8 * len(outer) ** 2)
    if not scaled < 1:
        return torch.full_like(size, torch.inf)
    return allowed + size * (scaled / (1 - scaled) * (allowed / size).norm())


def _solving(outer: Tensor) -> Float64[Tensor, " r"]:
    """g: twice the rounding of a product R x, row by row."""
    return 2 * product_rounding(len(outer)) * outer.norm(dim=1)


def _weight(rows: Rows, error: Tensor) -> Float64[Tensor, " rows"]:
    """w: the error of rows of K and of forming M K_Π, through |M|; and a product with M K_Π."""
    formed = gamma(rows.blocks.shape[2] + 1) * rows.chosen.norm(dim=1)
    through = apply_blocks(rows.blocks.abs(), (error + formed)[:, None])[:, 0]
    columns = rows.columns
    product = product_rounding(columns.shape[1]) * columns.norm(dim=1)
    return (through + product) * (1 + gamma(8 * len(columns)))
