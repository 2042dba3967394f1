"""The least weighted sum over row and column scalings: a geometric programme and its dual.

inf over s₁, s₂ > 0 of f = s₂ᵀ h s₁ + (1/s₂)ᵀ w (1/s₁), h and w ≥ 0: convex in the logarithms. With
p_ij = h_ij s₂_i s₁_j, q_ij = w_ij/(s₂_i s₁_j) and any y whose rows and columns all sum to 0,

    f* ≥ Σ_ij min_t p_ij eᵗ + q_ij e⁻ᵗ − y_ij t   (the weighted inequality of the two means),

so that every such y proves a lower bound. A Newton step t_ij = d₂_i + d₁_j gives one for nothing:
y = p − q + (p + q) t has these sums by the very equation that the step solves, and its bound falls
short of f by Σ ½ (p + q) t² to leading order.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from igsref.linalg.rounding import UNIT

_SWEEPS = 4
_MOST_STEPS = 300


@dataclass(frozen=True)
class Minimum:
    """value is attained or approached; the infimum lies in [value − gap, value]."""

    value: float
    gap: float


def scaled_sum_minimum(
    growing: Float64[Tensor, "rows columns"],
    shrinking: Float64[Tensor, "rows columns"],
    *,
    tolerance: float = 1e-12,
) -> Minimum:
    """The infimum over s₁, s₂ > 0 of s₂ᵀ h s₁ + (1/s₂)ᵀ w (1/s₁), with a proven gap.

    growing, shrinking: h and w, entries ≥ 0.
    tolerance: Newton steps end once the gap is below this multiple of the value. Where they end
        earlier, for want of digits, the gap says so. The gap is a theorem about real numbers;
        to it the rounding of the value is added, 16 eps of it.

    Zeros need no limit to be taken by hand. Let row i → column j be an arc where h_ij > 0, and
    column j → row i one where w_ij > 0. An arc on no cycle can be scaled to 0 while the cycles
    stay as they are, and only such arcs can; so the infimum is the sum of the minima over the
    strongly connected components, in each of which it is attained.

    Raises ValueError for entries that are negative or not finite, for a tolerance below 0, and
    OverflowError where the entries span more than float64 does.

    >>> scaled_sum_minimum(torch.tensor([[4.0]]).double(), torch.tensor([[9.0]]).double()).value
    12.0
    """
    _check(growing, shrinking, tolerance)
    labels = torch.from_numpy(_components(growing, shrinking)).to(growing.device)
    parts = [
        _component_minimum(growing, shrinking, labels == label, tolerance)
        for label in labels.unique()
    ]
    value = math.fsum(part.value for part in parts)
    return Minimum(value, min(value, math.fsum(part.gap for part in parts)))


def _check(growing: Tensor, shrinking: Tensor, tolerance: float) -> None:
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0; got {tolerance}")
    for name, matrix in (("growing", growing), ("shrinking", shrinking)):
        bad = (~((matrix >= 0) & matrix.isfinite())).nonzero()
        if len(bad):
            where = bad[0].tolist()
            raise ValueError(
                f"{name} must be finite and at least 0; {name}{where} is {float(matrix[*where])}"
            )


def _components(growing: Tensor, shrinking: Tensor) -> np.ndarray:
    """Which strongly connected component each row, then each column, belongs to."""
    rows, columns = growing.shape
    arcs = torch.zeros(rows + columns, rows + columns, dtype=torch.bool)
    arcs[:rows, rows:] = (growing > 0).cpu()
    arcs[rows:, :rows] = (shrinking > 0).cpu().T
    return connected_components(arcs.numpy(), connection="strong")[1]


def _component_minimum(
    growing: Tensor, shrinking: Tensor, inside: Tensor, tolerance: float
) -> Minimum:
    """The minimum over one strongly connected component, where it is attained."""
    rows, columns = inside.split(list(growing.shape))
    if not (bool(rows.any()) and bool(columns.any())):
        return Minimum(0.0, 0.0)
    h, w = growing[rows][:, columns], shrinking[rows][:, columns]
    if len(h) > h.shape[1]:
        h, w = h.T, w.T
    exponents = [math.frexp(float(matrix.max()))[1] for matrix in (h, w)]
    exponents[1] += sum(exponents) % 2
    # f of (a h, b w) is √(ab) f: powers of two keep the products below in range and round nothing.
    h, w = (_ldexp(matrix, -e) for matrix, e in zip((h, w), exponents, strict=True))
    value, lower = _descend(h, w, tolerance)
    if not math.isfinite(value):
        raise OverflowError(
            "growing and shrinking must have entries whose ratios are float64 numbers; "
            f"got {float(growing[growing > 0].min()):.3g} to {float(growing.max()):.3g} and "
            f"{float(shrinking[shrinking > 0].min()):.3g} to {float(shrinking.max()):.3g}"
        )
    unit = sum(exponents) // 2
    gap = max(value - lower, 0.0) + 32 * UNIT * value
    return Minimum(math.ldexp(value, unit), math.ldexp(gap, unit))


def _ldexp(matrix: Tensor, exponent: int) -> Tensor:
    """matrix·2^exponent in two halves, since 2^exponent alone may overflow."""
    half = exponent // 2
    return matrix * 2.0**half * 2.0 ** (exponent - half)


def _descend(h: Tensor, w: Tensor, tolerance: float) -> tuple[float, float]:
    """The least f met on the way and the best lower bound met, until both agree."""
    s1, s2 = _swept(h, w)
    best, lower = math.inf, 0.0
    for _ in range(_MOST_STEPS):
        p, q = h * s2[:, None] * s1, w / s2[:, None] / s1
        value = math.fsum((p + q).flatten().tolist())
        if not math.isfinite(value):
            break
        d2, d1 = _newton_step(p, q)
        best, lower = min(best, value), max(lower, value - _shortfall(p, q, d2, d1))
        if best - lower <= max(tolerance, 8 * UNIT) * best:
            break
        longest = float((d2[:, None] + d1).abs().max())
        # f'' changes by at most a factor of eᵗ over a step t, so that this length must descend.
        length = math.log1p(longest) / longest
        s2, s1 = s2 * torch.exp(length * d2), s1 * torch.exp(length * d1)
    return best, lower


def _swept(h: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Column and row scalings after a few exact minimisations over one with the other held."""
    s2 = h.new_ones(len(h))
    for _ in range(_SWEEPS):
        s1 = ((w.T @ (1 / s2)) / (h.T @ s2)).sqrt()
        s2 = ((w @ (1 / s1)) / (h @ s1)).sqrt()
    return s1, s2


def _newton_step(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """(d₂, d₁): rows and columns of y + (p + q)(d₂_i + d₁_j) sum to 0, y = p − q."""
    size, y = p + q, p - q
    columns = size.sum(dim=0)
    shared = size / columns
    right = shared @ y.sum(dim=0) - y.sum(dim=1)
    d2 = _laplacian_solve(shared @ size.T, right)
    return d2, -(size.T @ d2 + y.sum(dim=0)) / columns


def _laplacian_solve(weights: Tensor, right: Tensor) -> Tensor:
    """x with x_0 = 0 and Σ_j W_ij (x_i − x_j) = b_i, Σ b_i = 0; the diagonal of W does not count.

    Elimination in the form of Grassmann, Taksar and Heyman, Operations Research 33 (1985): pivots
    are sums of weights, so nothing cancels however weakly two groups of nodes are coupled.
    """
    weights, b = weights.clone(), right.clone()
    pivots = weights.new_ones(len(weights))
    for k in range(len(weights) - 1, 0, -1):
        row = weights[k, :k].clone()
        pivots[k] = row.sum()
        weights[:k, :k] += torch.outer(row, row / pivots[k])
        b[:k] += b[k] * row / pivots[k]
    x = torch.zeros_like(b)
    for k in range(1, len(weights)):
        x[k] = (b[k] + weights[k, :k] @ x[:k]) / pivots[k]
    return x


def _shortfall(p: Tensor, q: Tensor, d2: Tensor, d1: Tensor) -> float:
    """How far f may be above its infimum: f less the bound that y = p − q + (p + q) t proves.

    Entry by entry the bound is attained at τ with p e^τ − q e^−τ = y and lacks
    p k(τ) + q k(−τ), k(τ) = 1 − e^τ + τ e^τ. Infinite where y has a sign that p = 0 or q = 0 does
    not allow. What rounding leaves in the sums of y, times the step, is allowed for twice over.
    """
    y = p - q + (p + q) * (d2[:, None] + d1)
    root = torch.hypot(y, 2 * p.sqrt() * q.sqrt())
    ratio = torch.where(y >= 0, (y + root) / (2 * p), 2 * q / (root - y))
    tau = torch.where(p + q > 0, ratio, 1.0).log()
    if not bool(tau.isfinite().all()):
        return math.inf
    lacking = p * _rise(tau) + q * _rise(-tau)
    rows, columns = y.sum(dim=1).abs(), y.sum(dim=0).abs()
    return float(lacking.sum() + 2 * (rows @ d2.abs() + columns @ d1.abs()))


def _rise(tau: Tensor) -> Tensor:
    """k(τ) = 1 − e^τ + τ e^τ ≥ 0."""
    return (tau * tau.exp() - tau.expm1()).clamp(min=0.0)
