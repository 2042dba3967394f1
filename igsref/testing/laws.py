"""The law of invariance: a measure says the same of a function however it is parametrized.

Invariance is about real numbers, and a rounded network is another one. So what is allowed is

    |after − before| ≤ agreement·|before| + c·(what both state of their own uncertainty),

c = 1 where rounding moves no parameter by more than a few u of itself: results state what 2u do. It
is 1 as well for other coordinates of a network that keeps its floats, whose derivatives lose κ(Φ),
and whose results see that. A symmetry that mixes parameters moves the vector θ by √m·κ(Φ)·u, so
there c = √m·κ(Φ). A plain number states nothing: it is taken to be good to ``agreement`` for a few
u, and so to √m·κ(Φ)·agreement. Brackets, of measures that have them, must overlap always.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Generator

from igsref.arguments import described
from igsref.measures.measurement import Measure, Measurement
from igsref.measures.registry import find_measure
from igsref.testing.networks import Network, draw_network
from igsref.testing.transformations import TRANSFORMATIONS, Transformation, Transformed

AGREEMENT = 1e-10
"""Two float64 evaluations of one number of a well-conditioned network."""
STANDARD_ERRORS = 6.0
"""Of a sampled number, by which it may be off."""

Measured = str | Measure | Callable[[Any, Any], Any]
"""A name in ``igsref.MEASURES``, a Measure, or a function of (model, data) that gives a number, or
an object that ``float`` takes."""


@dataclass(frozen=True)
class Case:
    """One network before and after one transformation; a function of these five.

    family, network_seed: of :func:`igsref.testing.draw_network`. transformation: a name in
    ``TRANSFORMATIONS``. seed, strength: of its draw.
    """

    family: str
    network_seed: int
    transformation: str
    seed: int
    strength: float

    def network(self) -> Network:
        """The network before."""
        return draw_network(self.family, self.network_seed)

    def transformed(self, network: Network) -> Transformed:
        """The network after."""
        generator = Generator().manual_seed(self.seed)
        transformation = find_transformation(self.transformation)
        return transformation.draw(network.model, generator, self.strength)

    def __str__(self) -> str:
        return f"igsref.testing.{self!r}"


@dataclass(frozen=True)
class Deviation:
    """What a transformation did to a measure.

    moved = |after − before|, allowed as above; apart: how far the two brackets are from each
    other, 0 where they overlap or where there are none. stated: what both together state of
    their own uncertainty.
    """

    before: float
    after: float
    allowed: float
    apart: float
    stated: float = 0.0

    @property
    def moved(self) -> float:
        """|after − before|; infinite where either is not a number."""
        difference = abs(self.after - self.before)
        return difference if math.isfinite(difference) else math.inf

    @property
    def holds(self) -> bool:
        """Whether the law does; never for what is no finite number."""
        return math.isfinite(self.moved) and self.moved <= self.allowed and self.apart == 0


def find_transformation(name: str) -> Transformation:
    """The transformation of that name. Raises ValueError, with those there are."""
    if name not in TRANSFORMATIONS:
        raise ValueError(f"transformation must be one of {tuple(TRANSFORMATIONS)}; got {name!r}")
    return TRANSFORMATIONS[name]


def draw_cases(
    transformation: str,
    generator: Generator,
    *,
    families: Iterable[str] | None = None,
    per_network: int = 1,
) -> Iterator[Case]:
    """Cases without end, ``per_network`` in a row of one network; families in turn.

    families: some of those that the transformation can act on (all unless given).
    Raises ValueError for an unknown transformation or a family that it cannot act on.
    """
    chosen = find_transformation(transformation)
    return _cases(chosen, generator, chosen_families(chosen, families), per_network)


def chosen_families(
    transformation: Transformation, families: Iterable[str] | None
) -> tuple[str, ...]:
    """Those of the transformation unless given. Raises ValueError for one it cannot act on."""
    own = transformation.families
    among = own if families is None else tuple(families)
    foreign = [family for family in among if family not in own]
    if foreign or not among:
        raise ValueError(
            f"families must be among those that {transformation.name} can act on, {own}; "
            f"got {foreign or among}"
        )
    return among


def _cases(
    chosen: Transformation, generator: Generator, among: tuple[str, ...], per_network: int
) -> Iterator[Case]:
    while True:
        for family in among:
            network_seed = _seed(generator)
            for _ in range(per_network):
                share = float(torch.rand((), generator=generator, dtype=torch.float32))
                strength = chosen.strongest * share
                yield Case(family, network_seed, chosen.name, _seed(generator), strength)


def _seed(generator: Generator) -> int:
    return int(torch.randint(2**31, (), generator=generator))


def deviation(
    measure: Measured, case: Case, *, agreement: float = AGREEMENT, network: Network | None = None
) -> Deviation:
    """What the case's transformation does to a measure.

    measure: a function of (model, data). network: the case's, if it is at hand.
    """
    if not agreement > 0:
        raise ValueError(f"agreement must be positive; got {agreement}")
    compute = function_of(measure)
    network = case.network() if network is None else network
    transformed = case.transformed(network)
    before = checked_number(compute(network.model, network.data))
    after = checked_number(compute(transformed.model, network.data))
    return compared(before, after, case, transformed.condition, agreement=agreement)


def function_of(measure: Measured) -> Callable[[Any, Any], Any]:
    """The function of (model, data) behind a name or a Measure; a function as it is.

    Raises ValueError for a name that there is not, TypeError for anything else.
    """
    if isinstance(measure, str | Measure):
        return find_measure(measure).compute
    if not callable(measure):
        raise TypeError(
            "measure must be a name in igsref.MEASURES, a Measure or a function of (model, data); "
            f"got {measure!r}"
        )
    return measure


def checked_number(result: Any) -> Any:
    """What a measure returned, as it is. Raises TypeError unless ``float`` takes it; no string."""
    try:
        if isinstance(result, str | bytes):
            raise TypeError
        float(result)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"measure must return a number, or what float() takes; got {described(result)}"
        ) from error
    return result


def compared(
    before: Any, after: Any, case: Case, condition: float, *, agreement: float = AGREEMENT
) -> Deviation:
    """The same of two results; condition: κ(Φ)."""
    rounding, lost = find_transformation(case.transformation).rounding, 1.0
    if rounding in ("coordinates", "general"):
        lost = _parameters(case.family, case.network_seed) ** 0.5 * condition
    moved = lost if rounding == "general" else 1.0
    stated = _uncertainty(before) + _uncertainty(after)
    share = agreement if _states_uncertainty(before) else lost * agreement
    allowed = share * abs(float(before)) + moved * stated
    return Deviation(float(before), float(after), allowed, _apart(before, after), stated)


def _states_uncertainty(result: Any) -> bool:
    return hasattr(result, "upper") or getattr(result, "kind", "computed") != "computed"


@cache
def _parameters(family: str, network_seed: int) -> int:
    return sum(value.numel() for value in draw_network(family, network_seed).model.parameters())


def _uncertainty(result: Any) -> float:
    """What a result states of its own uncertainty."""
    if isinstance(result, Measurement):
        factor = STANDARD_ERRORS if result.kind == "sampled" else 1.0
        return factor * result.uncertainty
    if hasattr(result, "rounding_error"):
        return result.rounding_error
    return result.upper - result.lower if hasattr(result, "upper") else 0.0


def _apart(before: Any, after: Any) -> float:
    """The distance between two brackets, relative to the larger upper end."""
    if not (hasattr(before, "upper") and hasattr(after, "upper")):
        return 0.0
    gap = max(before.lower, after.lower) - min(before.upper, after.upper)
    return gap / max(before.upper, after.upper) if gap > 0 else 0.0


def assert_invariant(
    measure: Measured,
    *,
    transformation: str,
    families: Iterable[str] | None = None,
    examples: int = 20,
    seed: int = 0,
    agreement: float = AGREEMENT,
) -> Deviation:
    """Hold a measure to the law on random networks; the case that came closest to breaking it.

    measure: a name in ``igsref.MEASURES``, a Measure, or a function of (model, data), defined for
        the networks of the families. Results with ``lower`` and ``upper``, or with
    ``uncertainty``, are compared by what they state; plain numbers to ``agreement``, relative.
    transformation: a name in ``TRANSFORMATIONS``. families: some of those it can act on.

    Raises AssertionError with the code that reproduces the case; ValueError for a name that
    does not exist and for fewer than one example; TypeError for a measure that returns no number.

    >>> import igsref
    >>> worst = assert_invariant(igsref.exact_igs, transformation="permutation", examples=2)
    >>> worst.holds
    True
    """
    if examples < 1:
        raise ValueError(f"examples must be at least 1; got {examples}")
    generator = Generator().manual_seed(seed)
    cases = draw_cases(transformation, generator, families=families)
    seen = [check(measure, next(cases), agreement=agreement) for _ in range(examples)]
    return max(seen, key=lambda d: d.moved / d.allowed if d.allowed else 0.0)


def check(
    measure: Measured, case: Case, *, agreement: float = AGREEMENT, network: Network | None = None
) -> Deviation:
    """Hold a measure to the law on one case.

    Raises AssertionError with the code that reproduces it; TypeError for a measure that returns no
    number.
    """
    seen = deviation(measure, case, agreement=agreement, network=network)
    if not seen.holds:
        raise AssertionError(
            f"{_breach(case, seen)}. To see it again: igsref.testing.check(measure, {case})"
        )
    return seen


def _breach(case: Case, seen: Deviation) -> str:
    if not (math.isfinite(seen.before) and math.isfinite(seen.after)):
        return (
            f"the measure returned {seen.before!r} before and {seen.after!r} after "
            f"{case.transformation}; it must be finite"
        )
    return (
        f"{case.transformation} moved the measure from {seen.before!r} to {seen.after!r}, by "
        f"{seen.moved:.3g}; allowed {seen.allowed:.3g}{_gap(seen)}"
    )


def _gap(seen: Deviation) -> str:
    return f", and its brackets are {seen.apart:.3g} apart" if seen.apart else ""
