"""A bracket on ‖P V‖_F², P the projector onto the range of a matrix that is known approximately.

Only the exact matrix has a range; the floats that stand for it propose, and products with error
bounds dispose. For any x, y = A x lies in the range, so

    ‖P v‖² ≥ 2 vᵀy − ‖y‖²,                                                                (below)

and with B_k = A X_k of full column rank, y in its range and ρ = v − y,

    ‖P_B v‖² = ‖v‖² − ‖ρ‖² + ‖P_B ρ‖²,   ‖P_B ρ‖ ≤ ‖B_kᵀρ‖ / σ_min(B_k).                  (above)

If the exact rank is k that is all; if it may be R > k, the other R − k directions hold at most the
R − k largest squared singular values of (I − P_B) V. The derivation is in docs/bracket.md.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from igsref.linalg.assess import Assessment, smallest_stretch, solve
from igsref.linalg.rounding import gamma, measured_product

_KNOWN_TO = (0.3, 1e-3, 1e-6, 1e-9)
"""Largest deviations δ of the directions that a cut may keep."""
_GOOD_ENOUGH = 1e-12
_KEPT = 512
"""Residuals that are kept for their singular values, if the basis has fewer columns."""

Vectors = Callable[[], Iterable[Float64[Tensor, "n q"]]]
"""The columns of V, some at a time; may be asked for again."""


@dataclass(frozen=True)
class Bracket:
    """lower ≤ ‖P V‖_F² ≤ upper, and the upper end were the rank the numerical one.

    upper_at_rank: infinity where not all directions of the basis are known well enough.
    """

    lower: float
    upper: float
    upper_at_rank: float

    def at_rank(self) -> "Bracket":
        """The bracket were the rank the numerical one."""
        return Bracket(self.lower, self.upper_at_rank, self.upper_at_rank)


def bracket(known: Assessment, vectors: Vectors, rank_upper: int) -> Bracket:
    """Enclose ‖P V‖_F² for a range of rank at most rank_upper.

    Tries the whole basis and, where that does not decide all digits, the directions known to 0.3,
    10⁻³, …: every cut gives a lower bound, and an upper one if its directions are shown.
    """
    deviation, most = known.deviation(), known.space.dimension
    shown = {int((deviation < allowed).sum()) for allowed in _KNOWN_TO}
    lower, upper, at_rank = 0.0, whole(vectors).upper, float("inf")
    for cut in [most, *sorted(shown - {most, 0}, reverse=True)]:
        found = _at_cut(known, vectors, cut, rank_upper - cut)
        lower, upper = max(lower, found.lower), min(upper, found.upper)
        if cut == most:
            at_rank = min(at_rank, found.inside)
        if min(upper, at_rank) - lower <= _GOOD_ENOUGH * lower:
            break
    return Bracket(lower, max(upper, lower), max(at_rank, lower))


def whole(vectors: Vectors) -> Bracket:
    """‖V‖_F², where the range is all of R^n."""
    squares = [part.square().sum(dim=0) for part in vectors()]
    total = float(torch.cat(squares).sum())
    rounding = gamma(sum(map(len, squares)) + len(next(iter(vectors()))) + 2) * total
    return Bracket(total - rounding, total + rounding, total + rounding)


@dataclass(frozen=True)
class _Cut:
    """What the first k directions tell: bounds, and the energy inside were there no others."""

    lower: float
    inside: float
    upper: float


def _at_cut(known: Assessment, vectors: Vectors, cut: int, others: int) -> _Cut:
    """Bounds by the first k directions, where at most ``others`` more make up the range.

    These add at most (√(their share of the residuals) + missed)².
    """
    lower = inside = missed = left = 0.0
    residuals: list[Tensor] = []
    count = 0
    for part in vectors():
        low, high, off, rho = _tested(known, part, cut)
        lower, inside, missed = lower + float(low.sum()), inside + float(high.sum()), missed + off
        left, count = left + float(rho.square().sum()), count + rho.shape[1]
        if others > 0 and count <= max(cut, _KEPT):
            residuals.append(rho)
    grown = 1 + gamma(len(known.columns) + count + 8)
    lower, inside, left, missed = lower * (2 - grown), inside * grown, left * grown, missed * grown
    if others <= 0 or inside == float("inf"):
        return _Cut(lower, inside, inside)
    if others < count <= max(cut, _KEPT):
        left = min(left, _largest(torch.cat(residuals, dim=1), others))
    return _Cut(lower, inside, inside + (left**0.5 + missed**0.5) ** 2)


def _tested(known: Assessment, v: Tensor, cut: int) -> tuple[Tensor, Tensor, float, Tensor]:
    """Lower and upper bounds in range(B_k) of each column, Σ (‖a‖ + ‖P_B ρ‖)², and all ρ.

    a_j = w_j h bounds what separates the computed y from one in range(B_k).
    """
    n, basis = len(v), known.space.basis[:, :cut]
    x, h = solve(known.space, known.solving, basis.mT @ v)
    y = measured_product(known.columns, x)
    rho = v - y
    core = 2 * (v * y).sum(dim=0) - y.square().sum(dim=0)
    core_error = gamma(n + 4) * (2 * (v * y).abs().sum(dim=0) + y.square().sum(dim=0))
    weight = known.weight
    size, along = weight.norm() * h, weight @ rho.abs()
    first = 2 * along * h
    grown = 1 + gamma(8 * n + 8)
    lower = core - core_error - (first + size.square()) * grown
    outside = _outside(known, basis, rho, size, cut)
    inside = core + core_error + (first + outside.square()) * grown
    return lower.clamp(min=0.0), inside, float((size + outside).square().sum()) * grown, rho


def _outside(known: Assessment, basis: Tensor, rho: Tensor, size: Tensor, cut: int) -> Tensor:
    """‖P_B ρ‖ ≤ (‖Qᵀρ‖ + ‖(B − Q)ᵀρ‖)/σ_min(B) of each column, ρ known to ``size``."""
    deviation = known.deviation()[cut - 1] if cut else rho.new_zeros(())
    smallest = float(smallest_stretch(known.skew, deviation))
    if smallest <= 0:
        return torch.full_like(size, torch.inf)
    height = known.preimage[:cut].norm()
    length = (1 + known.skew) ** 0.5
    along_basis = (basis.mT @ rho).norm(dim=0) + gamma(len(rho)) * cut**0.5 * length * rho.norm(
        dim=0
    )
    drifted = (known.drift @ rho.abs()) * height
    return (along_basis + drifted + (length + deviation) * size) / smallest


def _largest(residuals: Float64[Tensor, "n q"], count: int) -> float:
    """At least the sum of the ``count`` largest squared singular values.

    Eigenvalues λ of the Gram matrix S = Y diag(λ) Yᵀ + E, E and ω = ‖YᵀY − I‖ measured: the sum of
    the largest eigenvalues of S is at most (1 + ω) Σλ + √count ‖E‖_F (Ostrowski, Weyl).
    """
    gram = residuals.mT @ residuals
    values, vectors = torch.linalg.eigh(gram)
    rebuilt = (vectors * values) @ vectors.mT
    total = float(gram.diagonal().sum())
    rounding = 2 * gamma(residuals.shape[0]) * total + 3 * gamma(len(gram)) * float(
        values.abs().sum()
    )
    error = float((gram - rebuilt).norm()) + rounding
    skew = float((vectors.mT @ vectors - torch.eye(len(gram)).to(gram)).norm())
    skew += gamma(len(gram)) * len(gram)
    largest = float(values[-count:].clamp(min=0.0).sum())
    return (1 + skew) * largest + count**0.5 * error


def in_columns(parts: Sequence[Tensor]) -> Vectors:
    """V from parts that are there already."""
    return lambda: parts


def in_blocks(
    blocks: Float64[Tensor, "samples rows"],
    places: Int64[Tensor, " samples"],
    total: int,
    at_once: int = 256,
) -> Vectors:
    """V with one column a sample, block i in place i of ``total`` and 0 elsewhere."""

    def columns() -> Iterable[Tensor]:
        for start in range(0, len(blocks), at_once):
            own, where = blocks[start : start + at_once], places[start : start + at_once]
            part = blocks.new_zeros(len(own), total, blocks.shape[1])
            part[torch.arange(len(own)), where] = own
            yield part.view(len(own), -1).mT

    return columns
