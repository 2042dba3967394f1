"""A bracket on ‖P V‖_F², P the projector onto the range of a matrix that is known approximately.

Only the exact matrix has a range; the floats that stand for it propose, and products with error
bounds dispose. For any x, y = A x lies in the range, so

    ‖P v‖² ≥ 2 vᵀy − ‖y‖²,                                                                (below)

and with B_k = A X_k of full column rank, y in its range and ρ = v − y,

    ‖P_B v‖² = ‖v‖² − ‖ρ‖² + ‖P_B ρ‖²,   ‖P_B ρ‖ ≤ ‖B_kᵀρ‖ / σ_min(B_k).                  (above)

If the exact rank is k that is all; if it may be R > k, the other R − k directions hold at most the
R − k largest squared singular values of (I − P_B) V. The derivation is in docs/bracket.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.linalg.assess import Assessment, smallest_stretch, solve
from igsref.linalg.range import Rows, Vectors
from igsref.linalg.rounding import gamma, measured_product

_KNOWN_TO = (0.3, 1e-3, 1e-6, 1e-9)
"""Largest deviations δ of the directions that a cut may keep."""
_GOOD_ENOUGH = 1e-12


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


def bracket(known: Assessment, vectors: Sequence[Vectors], rank_upper: int) -> Bracket:
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


def whole(vectors: Sequence[Vectors]) -> Bracket:
    """‖V‖_F², where the range is all of R^n."""
    squares = torch.cat([part.squares() for part in vectors])
    total = float(squares.sum())
    rounding = gamma(len(squares) + max(part.length() for part in vectors) + 2) * total
    return Bracket(total - rounding, total + rounding, total + rounding)


@dataclass(frozen=True)
class _Cut:
    """What the first k directions tell: bounds, and the energy inside were there no others."""

    lower: float
    inside: float
    upper: float


def _at_cut(known: Assessment, vectors: Sequence[Vectors], cut: int, others: int) -> _Cut:
    """Bounds by the first k directions, where at most ``others`` more make up the range.

    These add at most (√(their share of the residuals) + missed)².
    """
    tested = [_tested(known, part, cut, len(vectors) == 1 and others > 0) for part in vectors]
    grown = 1 + gamma(len(known.weight) + sum(len(part.squares()) for part in vectors) + 8)
    lower = sum(part.lower for part in tested) * (2 - grown)
    inside, missed, left = (
        sum(getattr(part, name) for part in tested) * grown for name in ("inside", "missed", "left")
    )
    if others <= 0 or not inside < float("inf"):  # overflow may leave ∞ − ∞
        return _Cut(lower, inside, inside)
    gram = tested[0].gram
    if gram is not None and others < len(gram):
        left = min(left, _largest(gram, others, len(known.weight)))
    return _Cut(lower, inside, inside + (left**0.5 + missed**0.5) ** 2)


@dataclass(frozen=True, eq=False)
class _Tested:
    """Sums over some columns of V: bounds in range(B_k), Σ (‖a‖ + ‖P_B ρ‖)², Σ ‖ρ‖², and ρᵀρ."""

    lower: float
    inside: float
    missed: float
    left: float
    gram: Float64[Tensor, "q q"] | None


def _tested(known: Assessment, v: Vectors, cut: int, wants_gram: bool) -> _Tested:
    """Bounds for columns of V; a_j = w_j h is what separates the computed y from the exact one."""
    x, h = solve(known.space, known.solving, known.space.coordinates(v, cut))
    seen = _seen(known, v, x, cut, wants_gram)
    n = len(known.weight)
    core = 2 * seen.inner - seen.reached
    core_error = gamma(n + 4) * (2 * seen.inner_size + seen.reached)
    size, first = known.weight.norm() * h, 2 * seen.along * h
    grown = 1 + gamma(8 * n + 8)
    lower = core - core_error - (first + size.square()) * grown
    outside = _outside(known, seen, size, cut)
    inside = core + core_error + (first + outside.square()) * grown
    missed = (size + outside).square().sum() * grown
    return _Tested(
        float(lower.clamp(min=0.0).sum()),
        float(inside.sum()),
        float(missed),
        float(seen.left.sum()),
        seen.gram,
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """For each column, from all rows of y and ρ = v − y.

    inner: vᵀy. inner_size: |v|ᵀ|y|. reached: ‖y‖². left: ‖ρ‖². along: wᵀ|ρ|. drifted: dᵀ|ρ|.
    basis: Q_kᵀρ, (k, q). gram: ρᵀρ, where it is wanted.
    """

    inner: Float64[Tensor, " q"]
    inner_size: Float64[Tensor, " q"]
    reached: Float64[Tensor, " q"]
    left: Float64[Tensor, " q"]
    along: Float64[Tensor, " q"]
    drifted: Float64[Tensor, " q"]
    basis: Float64[Tensor, "k q"]
    gram: Float64[Tensor, "q q"] | None


def _seen(known: Assessment, vectors: Vectors, x: Tensor, cut: int, wants_gram: bool) -> _Seen:
    parts = [_seen_here(known, rows, vectors, x, cut, wants_gram) for rows in known.space.parts()]
    seen = _Seen(*(torch.stack(values).sum(dim=0) for values in zip(*parts, strict=True)))
    return seen if wants_gram else replace(seen, gram=None)


def _seen_here(
    known: Assessment, rows: Rows, vectors: Vectors, x: Tensor, cut: int, wants_gram: bool
) -> tuple[Tensor, ...]:
    v, y = vectors.rows(rows.span), measured_product(rows.columns, x)
    rho = v - y
    size, product = rho.abs(), v * y
    return (
        product.sum(dim=0),
        product.abs().sum(dim=0),
        y.square().sum(dim=0),
        rho.square().sum(dim=0),
        known.weight[rows.span] @ size,
        known.drift[rows.span] @ size,
        rows.basis[:, :cut].mT @ rho,
        rho.mT @ rho if wants_gram else rho.new_zeros(len(x[0]), len(x[0])),
    )


def _outside(known: Assessment, seen: _Seen, size: Tensor, cut: int) -> Tensor:
    """‖P_B ρ‖ ≤ (‖Qᵀρ‖ + ‖(B − Q)ᵀρ‖)/σ_min(B) of each column, ρ known to ``size``."""
    deviation = known.deviation()[cut - 1] if cut else size.new_zeros(())
    smallest = float(smallest_stretch(known.skew, deviation))
    if smallest <= 0:
        return torch.full_like(size, torch.inf)
    length = (1 + known.skew) ** 0.5
    rounding = gamma(len(known.weight)) * cut**0.5 * length * seen.left.sqrt()
    drifted = seen.drifted * known.preimage[:cut].norm()
    along = seen.basis.norm(dim=0) + rounding
    return (along + drifted + (length + deviation) * size) / smallest


def _largest(gram: Float64[Tensor, "q q"], count: int, length: int) -> float:
    """At least the sum of the ``count`` largest eigenvalues of the exact ρᵀρ, ρ of that length.

    Eigenvalues λ of the Gram matrix S = Y diag(λ) Yᵀ + E, E and ω = ‖YᵀY − I‖ measured: the sum of
    the largest eigenvalues of S is at most (1 + ω) Σλ + √count ‖E‖_F (Ostrowski, Weyl).
    """
    values, vectors = torch.linalg.eigh(gram)
    rebuilt = (vectors * values) @ vectors.mT
    total = float(gram.diagonal().sum())
    rounding = 2 * gamma(length) * total + 3 * gamma(len(gram)) * float(values.abs().sum())
    error = float((gram - rebuilt).norm()) + rounding
    skew = float((vectors.mT @ vectors - torch.eye(len(gram)).to(gram)).norm())
    skew += gamma(len(gram)) * len(gram)
    largest = float(values[-count:].clamp(min=0.0).sum())
    return (1 + skew) * largest + count**0.5 * error
