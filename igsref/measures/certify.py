"""Certified values: IGS and what surrounds it as rigorous enclosures, in ball arithmetic.

Weights and inputs are the dyadic rationals that the floats are. For piecewise-linear networks the
Jacobian is then an exact rational matrix, whose rank is decided exactly; only softmax needs balls.
Networks with smooth activations are in balls throughout: pivots prove a rank from below, and where
a structural bound meets it, the rank is known too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, SupportsIndex, Unpack

import numpy as np
from flint import arb, ctx

from igsref.arguments import checked_integer
from igsref.curvature.rank_bound import RankBound, rank_bound
from igsref.exact.arithmetic import BALLS, RATIONALS, Array, Undecided
from igsref.exact.cost import require_affordable
from igsref.exact.decimals import Decimals, between
from igsref.exact.energy import energy_beside_null, energy_in_range
from igsref.exact.network import (
    Linearised,
    is_piecewise_rational,
    linearised,
    unsupported,
)
from igsref.exact.output_metric import OutputMetric, output_metric
from igsref.exact.rank import RankCertificate, certified_rank
from igsref.measures.minibatch import checked_batch_size
from igsref.problem import Problem, ProblemOptions, as_problem

MOST_BITS = 2**15
"""The working precision is doubled until all digits are there, and no further than this."""
_FIRST_BITS = 256
_FRUITLESS_DOUBLINGS = 2
"""So often without a new pivot, and a rank that no bound decides is given up; not before the last
of them has twice the bits that the smallest derivative takes to be seen in K."""
_MOST_DIGITS = 1000


@dataclass(frozen=True)
class Certified:
    """IGS of a network, proven digit by digit; decimal strings, their ends rounded outwards.

    lower ≤ IGS ≤ upper, as strings: the exact IGS of the very floats. ceiling: an upper end of the
    exact ceiling. rank: of F, exact; None if undecided: then upper is the ceiling, and lower the
    IGS if the rank is the smallest that is possible, all digits of it.
    rank_source: what decided it. full_batch: G = ḡ F⁺ ḡᵀ. per_sample: g_i F⁺ g_iᵀ.
    sample_ceiling: of each. asked: the digits that were asked for. bits: the working precision
    that was enough, or at which an undecided rank was given up.
    """

    igs: Decimals
    ceiling_enclosure: Decimals
    rank: int | None
    rank_source: str
    full_batch: Decimals
    per_sample: tuple[Decimals, ...]
    sample_ceiling: tuple[Decimals, ...]
    num_samples: int
    asked: int
    bits: int

    @property
    def lower(self) -> str:
        """The IGS is at least this."""
        return self.igs.lower

    @property
    def upper(self) -> str:
        """The IGS is at most this."""
        return self.igs.upper

    @property
    def ceiling(self) -> str:
        """The ceiling is at most this."""
        return self.ceiling_enclosure.upper

    @property
    def digits(self) -> int:
        """Decimal digits of the IGS that are proven; 0 as a rule where the rank is undecided."""
        return self.igs.digits

    def minibatch(self, batch_size: SupportsIndex, *, replacement: bool = False) -> Decimals:
        """IGS_b, equation (7), for batches drawn uniformly; a convex combination of IGS and G.

        Raises ValueError for b < 1, or b > N without replacement; TypeError unless an integer.
        """
        n = self.num_samples
        b = checked_batch_size(batch_size, n, replacement)
        own = Fraction(1, b)
        if not replacement:
            own = Fraction(n - b, b * (n - 1)) if n > 1 else Fraction(1)
        low, high = (
            own * igs + (1 - own) * together
            for igs, together in zip(self.igs.fractions, self.full_batch.fractions, strict=True)
        )
        return Decimals.outwards(low, high, *_places(self.asked))

    def __str__(self) -> str:
        rank = self.rank if self.rank is not None else "undecided"
        return (
            f"IGS      {self.igs}\nceiling  {self.ceiling_enclosure}\n"
            f"rank     {rank} ({self.rank_source})\nG        {self.full_batch}"
        )


def exact_rank(model: Any, data: Any = None, **options: Unpack[ProblemOptions]) -> int:
    """The exact rank of F for a piecewise-linear sequential network, proven.

    Linear, convolution, ReLU, leaky ReLU, flatten and pooling layers; the floats are taken as the
    dyadic rationals that they are. See :func:`rank_certificate` for the proof itself.
    Raises ValueError, with the reason, for a network of another kind or one that is too large.
    """
    return rank_certificate(model, data, **options).rank


def rank_certificate(
    model: Any, data: Any = None, **options: Unpack[ProblemOptions]
) -> RankCertificate:
    """Why the exact rank is what it is: a prime, its pivots, and null vectors or a known bound.

    Raises ValueError as :func:`exact_rank`.
    """
    problem = as_problem(model, data, **options)
    _check_rational(problem)
    certificate = certified_rank(linearised(problem, RATIONALS).gram, rank_bound(problem).value)
    _check_rank_bound(problem, certificate.rank)
    return certificate


def exact_gram(model: Any, data: Any = None, **options: Unpack[ProblemOptions]) -> Array:
    """K = D Dᵀ of a piecewise-linear sequential network in rationals, whose rank is that of F.

    D: the rows K_i J_i of every sample, class differences of its Jacobian for the categorical
    likelihood, n = N·R of them. Shape (n, n), a numpy array of ``flint.fmpq``.
    ``rank_certificate(model, data).holds(exact_gram(model, data))`` checks a certificate again.
    Raises ValueError as :func:`exact_rank`.

    >>> import torch
    >>> model = torch.nn.Linear(2, 2, bias=False).double()
    >>> x, y = torch.tensor([[1.0, 0.5], [2.0, 1.0]]).double(), torch.tensor([0, 1])
    >>> K = exact_gram(model, (x, y))
    >>> K.shape, abs(K[0, 1])
    ((2, 2), 5)
    >>> rank_certificate(model, (x, y)).holds(K)
    True
    """
    problem = as_problem(model, data, **options)
    _check_rational(problem)
    return linearised(problem, RATIONALS).gram


def certify(
    model: Any, data: Any = None, *, digits: SupportsIndex = 25, **options: Unpack[ProblemOptions]
) -> Certified:
    """IGS, ceiling, G, IGS_b and per-sample terms with at least ``digits`` certified digits.

    model, data, options: as for :func:`igsref.exact_igs`. A number of the result is as wide as
    10^−digits of itself, or of the IGS where it is a smaller term of it.
    Networks: sequential, of linear, convolution, pooling, flatten, evaluated BatchNorm layers and
    (leaky) ReLU, tanh, sigmoid, SiLU or GELU.

    Returns a :class:`Certified`; where the rank of a smooth network stays undecided, an enclosure
    up to the ceiling that says so.
    Raises ValueError for another network, or one too large, with the sizes and before any work;
    ArithmeticError where 2¹⁵ bits do not give the digits.
    """
    wanted = checked_integer("digits", digits, least=1)
    if wanted > _MOST_DIGITS:
        raise ValueError(f"digits must be at most {_MOST_DIGITS}; got {wanted}")
    problem = as_problem(model, data, **options)
    _check_kind(problem)
    require_affordable(problem)
    bound = rank_bound(problem)
    attempt = _rational_attempt if is_piecewise_rational(problem) else _ball_attempt
    solve = attempt(problem, bound)
    bits, reason = max(_FIRST_BITS, 8 * wanted), "its numbers are too far apart"
    while bits <= MOST_BITS:
        with ctx.workprec(bits):
            try:
                found = solve(bits >= MOST_BITS // 2)
            except Undecided as error:
                found, reason = None, str(error)
            if found is not None and _is_enough(found, wanted):
                return _certified(problem, found, bits, wanted)
        bits *= 2
    raise ArithmeticError(f"{wanted} digits could not be certified with {MOST_BITS} bits: {reason}")


@dataclass(frozen=True, eq=False)
class _Found:
    """Balls: energies ‖P v_i‖² and of Σ v_i, their ceilings; whether the rank is exact."""

    energy: Array
    ceiling: Array
    rank: int | None
    source: str


_Solve = Callable[[bool], _Found | None]
"""One attempt at the precision of the moment; True says that it is the last one."""


def _check_kind(problem: Problem) -> None:
    if (reason := unsupported(problem)) is not None:
        raise ValueError(f"model must be of a kind that is computed exactly: {reason}")


def _check_rational(problem: Problem) -> None:
    """Whether it is piecewise linear before how large it is: fewer samples would not help."""
    _check_kind(problem)
    if not is_piecewise_rational(problem):
        raise ValueError(
            "model must be piecewise linear for an exact rank; its derivatives are not rational. "
            "igsref.certify decides the rank of some smooth networks"
        )
    require_affordable(problem)


def _check_rank_bound(problem: Problem, proven: int) -> None:
    """Refuse a bound given by the user that the rank of F exceeds."""
    if problem.known_rank is not None and problem.known_rank < proven:
        raise ValueError(
            f"rank_bound={problem.known_rank} is below the rank that is proven, {proven}"
        )


def _rational_attempt(problem: Problem, bound: RankBound) -> _Solve:
    """The rational part once; then balls for the softmax only."""
    exact = linearised(problem, RATIONALS)
    certificate = certified_rank(exact.gram, bound.value)
    _check_rank_bound(problem, certificate.rank)
    source = bound.source if certificate.null is None else "exact null vectors"
    pivots, null = list(certificate.pivots), certificate.null
    if len(pivots) == problem.num_rows:
        null = RATIONALS.zeros(0, problem.num_rows)
    basis = exact.gram[:, pivots] if null is None else _unit_basis(null, pivots)

    def solve(last: bool) -> _Found:
        logits = _balls(exact.logits)
        metric = output_metric(problem, logits)
        vectors = _vectors(problem, metric)
        if null is not None and len(null) < len(pivots):
            energy = energy_beside_null(_balls(null), metric.inverse, vectors)
        else:
            energy = energy_in_range(_balls(basis), metric.metric, vectors)
        return _Found(energy, _ceilings(problem, metric), certificate.rank, source)

    return solve


def _unit_basis(null: Array, pivots: list[int]) -> Array:
    """The basis of range D with a unit matrix in the pivots' rows, (n, r) rationals.

    Unlike columns of K it depends on the range alone: powers of two in the weights change no digit.
    """
    n = null.shape[1]
    basis = RATIONALS.zeros(n, len(pivots))
    basis[pivots, range(len(pivots))] = RATIONALS.number(1.0)
    basis[[row for row in range(n) if row not in set(pivots)]] = -null[:, pivots]
    return basis


def _ball_attempt(problem: Problem, bound: RankBound) -> _Solve:
    """Everything in balls at each precision; the rank from pivots that are proven.

    Where they stay fewer than the bound, more precision is tried until it shows nothing more. This
    decides when to stop and no value: the energy in proven directions is a lower bound at any time.
    """
    counts: list[int] = []

    def solve(last: bool) -> _Found | None:
        seen: Linearised = linearised(problem, BALLS)
        metric = output_metric(problem, seen.logits)
        vectors = _vectors(problem, metric)
        pivots = proven_pivots(seen.gram, bound.value + 1)
        _check_rank_bound(problem, len(pivots))
        counts.append(len(pivots))
        if len(pivots) == problem.num_rows:
            energy = energy_beside_null(BALLS.zeros(0, len(vectors)), metric.inverse, vectors)
        elif len(pivots) == bound.value or last or _is_fruitless(counts, seen):
            energy = energy_in_range(seen.gram[:, pivots], metric.metric, vectors)
        else:
            return None
        rank = bound.value if len(pivots) == bound.value else None
        source = bound.source if rank is not None else f"between {len(pivots)} and {bound.value}"
        return _Found(energy, _ceilings(problem, metric), rank, source)

    return solve


def _is_fruitless(counts: list[int], seen: Linearised) -> bool:
    """Whether doubling has shown no new pivot, and every derivative would have been large enough.

    counts: of pivots, at one precision after the other; seen: at the last one, that of the moment.
    """
    recent = counts[-1 - _FRUITLESS_DOUBLINGS :]
    unchanged = len(recent) > _FRUITLESS_DOUBLINGS and len(set(recent)) == 1
    return unchanged and ctx.prec >= 4 * seen.spread


def proven_pivots(gram: Array, most: int) -> list[int]:
    """Rows P whose principal minor is proven not to vanish, by Cholesky with diagonal pivoting.

    gram: (n, n) balls around a positive semidefinite matrix. No more than ``most`` of them.
    """
    rest = gram.copy()
    pivots: list[int] = []
    remaining = list(range(len(gram)))
    while remaining and len(pivots) < most:
        best = max(remaining, key=lambda j: rest.item(j, j).mid())
        if not rest[best, best] > 0:
            break
        pivots.append(best)
        remaining.remove(best)
        column = rest[remaining, best] / rest[best, best]
        rest[np.ix_(remaining, remaining)] -= np.outer(column, rest[best, remaining])
    return sorted(pivots)


def _vectors(problem: Problem, metric: OutputMetric) -> Array:
    """u of every labelled sample in its place, and their sum; (n, N + 1)."""
    count, height = metric.residual.shape
    out = BALLS.zeros(problem.pool_size, height, count + 1)
    for sample, place in enumerate(problem.members.tolist()):
        out[place, :, sample] = metric.residual[sample]
        out[place, :, count] += metric.residual[sample]
    return out.reshape(-1, count + 1)


def _ceilings(problem: Problem, metric: OutputMetric) -> Array:
    """‖v_i‖² over how often the input of sample i is in the pool."""
    ceiling = metric.ceiling(problem.members.tolist())
    return ceiling / np.array(problem.multiplicity().tolist(), dtype=object)


def _balls(values: Array) -> Array:
    """Rationals as balls at the precision of the moment."""
    out = np.empty(values.shape, dtype=object)
    for index, value in np.ndenumerate(values):
        out[index] = arb(value)
    return out


def _is_enough(found: _Found, digits: int) -> bool:
    """Whether every ball is as narrow as asked; of an undecided rank, those of both ends."""
    tolerance = arb(10) ** -(digits + 1)
    terms = [*found.energy, *found.ceiling]
    total = sum(found.energy[:-1], arb(0)).abs_upper()
    # An energy of 0 is known to that, absolutely, where its terms are.
    scale = total if total > 0 else arb(1)
    return all(
        bool(term.rad() <= tolerance * abs(term)) or bool(term.rad() <= tolerance * scale)
        for term in terms
    )


def _places(digits: int) -> tuple[int, int]:
    """The fewest and the most digits of an end that are written where so many are asked for."""
    return max(17, digits + 2), 2 * digits + 50


def _certified(problem: Problem, found: _Found, bits: int, digits: int) -> Certified:
    """Sums and decimals, outwards; IGS = (N_F/N) Σ ‖P v_i‖², G = (N_F/N²) ‖P Σ v_i‖²."""
    n, pool = problem.num_samples, problem.pool_size
    fewest, most = _places(digits)
    ends = partial(between, fewest=fewest, most=most)
    energy, together = found.energy[:-1], found.energy[-1]
    igs = sum(energy, arb(0)) * pool / n
    ceiling = sum(found.ceiling, arb(0)) * pool / n
    full_batch = together * pool / n**2
    # Energies in part of the range are lower bounds. No ball around both ends: its radius has 30
    # bits, and would take the digits of the lower one.
    known = found.rank is not None
    highest = ends(ceiling, ceiling)
    whole = ends(igs, igs if known else ceiling).within(highest)
    sample_ceiling = tuple(ends(c * pool, c * pool) for c in found.ceiling)
    per_sample = (
        ends(e * pool, (e if known else c) * pool)
        for e, c in zip(energy, found.ceiling, strict=True)
    )
    return Certified(
        igs=whole,
        ceiling_enclosure=highest,
        rank=found.rank,
        rank_source=found.source,
        full_batch=ends(full_batch, full_batch if known else ceiling).within(whole),
        per_sample=tuple(e.within(c) for e, c in zip(per_sample, sample_ceiling, strict=True)),
        sample_ceiling=sample_ceiling,
        num_samples=n,
        asked=digits,
        bits=bits,
    )
