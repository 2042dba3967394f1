"""Brackets against the truth: the exact numbers lie inside, and how much room is left to them.

Balls of at least 50 digits are held against the very floats of a result; nothing is rounded, and
what a ball leaves undecided counts as outside.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flint import arb, ctx

from igsref import Result
from igsref.enclosure import GRADES, Enclosure
from verification.networks import Network, as_lists
from verification.oracle import Truth, class_probabilities, to_float

_DISTANCE_BITS = 128


@dataclass(frozen=True)
class Bracketing:
    """What a result encloses of one network: IGS, G = ḡ F⁺ ḡᵀ, the rank of F and the ceiling.

    outside: (number, distance from its interval) of those that are not proven to lie inside.
    enclosure: of the IGS. rank_closed: the upper bound on the rank is the exact rank.
    """

    kind: str
    seed: int
    enclosure: Enclosure
    rank_closed: bool
    outside: tuple[tuple[str, float], ...]

    @property
    def below(self) -> float:
        """(value − lower)/value."""
        return relative(self.enclosure.value - self.enclosure.lower, self.enclosure.value)

    @property
    def above(self) -> float:
        """(upper − value)/value."""
        return relative(self.enclosure.upper - self.enclosure.value, self.enclosure.value)

    def __str__(self) -> str:
        misses = ", ".join(f"{number} is outside by {far:.1e}" for number, far in self.outside)
        return f"{self.kind} {self.seed}, {self.enclosure.grade}: {misses or 'all inside'}"


def bracketing(network: Network, result: Result, exact: Truth, ceiling: arb) -> Bracketing:
    """Hold the intervals of a result against the truth.

    ceiling: the exact one, of :func:`exact_ceiling`.
    """
    distances = {
        "IGS": _distance(exact.value, result.lower, result.upper),
        "G": _distance(exact.full_batch, result.full_batch.lower, result.full_batch.upper),
        "rank": _distance(arb(exact.rank), result.rank_lower, result.rank_upper),
        "ceiling": _distance(ceiling, 0, result.ceiling),
    }
    return Bracketing(
        network.kind,
        network.seed,
        result.enclosure,
        rank_closed=result.rank_upper == exact.rank,
        outside=tuple((name, far) for name, far in distances.items() if far is not None),
    )


def exact_ceiling(network: Network, exact: Truth, *, bits: int) -> arb:
    """Σ_i (1 − p_y)/(p_y n_i), n_i how often the input of sample i is in the data, bit for bit."""
    layers, activation, inputs, labels = as_lists(network)
    rows = [tuple(map(float.hex, row)) for row in inputs]
    count = Counter(rows)
    if len(count) == len(rows):
        return exact.ceiling
    probabilities = class_probabilities(layers, activation, inputs, bits=bits)
    with ctx.workprec(bits):
        terms = [
            (1 - p[label]) / (p[label] * count[row])
            for p, label, row in zip(probabilities, labels, rows, strict=True)
        ]
        return sum(terms, arb(0))


def relative(size: float, value: float) -> float:
    """size/value; a network that learns nothing has value 0, and is to be met exactly."""
    return size / value if value else (0.0 if size == 0 else float("inf"))


def _distance(exact: arb, lower: float, upper: float) -> float | None:
    """None where lower ≤ exact ≤ upper for all of the ball; how far outside it may be otherwise."""
    # Comparisons of balls are exact, and true only where they hold for every point.
    if arb(lower) <= exact and exact <= arb(upper):
        return None
    with ctx.workprec(_DISTANCE_BITS):
        return to_float((lower - exact.lower()).max(exact.upper() - upper))


# The table.


def bracket_table(bracketings: Iterable[Bracketing]) -> str:
    """One line per kind and grade, and one per grade: widths relative to the value."""
    found = list(bracketings)
    lines = [
        f"{'kind':<16}{'grade':<11}{'networks':>8}{'outside':>9}{'rank closed':>13}"
        f"{'below: median':>15}{'90 %':>9}{'worst':>9}{'above: median':>15}{'90 %':>9}{'worst':>9}"
    ]
    for kind in [*dict.fromkeys(b.kind for b in found), "all"]:
        for grade in reversed(GRADES):
            group = [b for b in found if kind in (b.kind, "all") and b.enclosure.grade == grade]
            lines += [_line(kind, grade, group)] if group else []
    return "\n".join(lines)


def _line(kind: str, grade: str, group: Sequence[Bracketing]) -> str:
    return (
        f"{kind:<16}{grade:<11}{len(group):>8}{sum(bool(b.outside) for b in group):>9}"
        f"{sum(b.rank_closed for b in group):>13}"
        f"{_spread(group, lambda b: b.below)}{_spread(group, lambda b: b.above)}"
    )


def _spread(group: Sequence[Bracketing], width: Callable[[Bracketing], float]) -> str:
    """Median, the width that nine in ten do not exceed, and the worst."""
    widths = sorted(map(width, group))
    median, most = widths[len(widths) // 2], widths[-(-9 * len(widths) // 10) - 1]
    return f"{median:>15.1e}{most:>9.1e}{widths[-1]:>9.1e}"
